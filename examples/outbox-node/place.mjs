// Places an order and writes its event, in one transaction: docs/outbox-contract.md.
// PAIDONCE_DSN=postgresql://… node place.mjs tea
import { randomUUID } from "node:crypto";
import pg from "pg";

const order = { order: randomUUID(), item: process.argv[2] };
const client = new pg.Client({ connectionString: process.env.PAIDONCE_DSN });
await client.connect();
try {
  await client.query("BEGIN");
  await client.query("INSERT INTO shop.orders (id, item) VALUES ($1, $2)", [order.order, order.item]);
  await client.query(
    `INSERT INTO outbox (id, aggregatetype, aggregateid, type, sequence, payload)
     VALUES (uuidv7(), 'order', $1, 'order.placed', 1, convert_to($2, 'UTF8'))`,
    [order.order, JSON.stringify(order)],
  );
  await client.query("COMMIT"); // one commit: the order with its event, or neither
  console.log(order.order);
} finally {
  await client.end();
}
