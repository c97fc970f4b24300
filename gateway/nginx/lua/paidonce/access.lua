-- May this request go to the service? Every check in one order, the cheap ones first; the last line lets it pass.

local answer = require "paidonce.answer"
local breaker = require "paidonce.breaker"
local cors = require "paidonce.cors"
local head = require "paidonce.head"
local identity = require "paidonce.identity"
local metrics = require "paidonce.metrics"
local routes = require "paidonce.routes"
local settings = require "paidonce.settings"
local subject_limit = require "paidonce.subject_limit"
local verifier = require "paidonce.verifier"

local M = {}

local function refuse(code, reason, headers, opening)
  ngx.var.paidonce_reason = reason or code
  return answer.problem(code, headers, opening)
end

local function refuse_method(resource)
  return refuse("method-not-allowed", nil, { Allow = resource.allow }, resource.not_allowed)
end

local function verified(service)
  local principal, refused = verifier.verify(service, ngx.req.get_headers(0)["authorization"])
  if principal then return principal end
  return nil, refuse(refused.problem, refused.reason)
end

local function authorize(resource, method, principal)
  local rule = routes.rule(resource, method)
  if not rule then return refuse_method(resource) end
  if routes.allows(rule, principal) then return end
  local scopes = table.concat(rule.scopes, " ")
  local needed = scopes ~= "" and (', scope="%s"'):format(scopes) or ""
  return refuse("insufficient-scope", nil, { ["WWW-Authenticate"] = 'Bearer error="insufficient_scope"' .. needed })
end

local function check_caller(service, resource, method)
  if resource.public then
    if not routes.rule(resource, method) then refuse_method(resource) end
    return
  end
  local principal = verified(service)
  authorize(resource, method, principal)
  local wait_s = subject_limit.wait_s(principal)
  if wait_s then refuse("rate-limited", "subject", { ["Retry-After"] = wait_s }) end
  identity.put(service, principal)
  if service.pass_token then ngx.var.paidonce_authorization = ngx.var.http_authorization end
end

-- Returns when the request may go on; otherwise it has been answered.
function M.check()
  local service = settings.services[ngx.var.paidonce_service]
  local fault = head.fault()
  if fault then return refuse(fault) end
  local resource = routes.find(service.resources, ngx.var.request_uri)
  if cors.is_preflight() then return cors.preflight(resource) end
  if not resource then return refuse("not-found") end
  check_caller(service, resource, ngx.req.get_method())
  local wait_s = breaker.wait_s(service)
  if wait_s then return refuse("unavailable", "breaker", { ["Retry-After"] = wait_s }) end
end

-- Answers what nginx could not read.
function M.refuse_unreadable()
  return refuse(head.refused())
end

-- Answers a head that was too large to be read.
function M.refuse_too_large()
  return refuse("head-too-large")
end

-- Notes what became of a request; one that could not be read never came to a service.
function M.log()
  local service = settings.services[ngx.var.paidonce_service or ""]
  if service then breaker.note(service) end
  metrics.count(service)
end

return M
