-- The accident. The locks are there for the demo's sake: what is counted here is exactly what stands before the DROP.
LOCK TABLES shop.orders WRITE, shop.invoices WRITE;
SELECT COUNT(*) FROM shop.orders;
SELECT COUNT(*) FROM shop.invoices;
CHECKSUM TABLE shop.orders, shop.invoices;
DROP TABLE shop.invoices;
UNLOCK TABLES;
