-- A small shop.
CREATE DATABASE shop;
CREATE TABLE shop.stock (
  article VARCHAR(40) PRIMARY KEY,
  pieces  INT NOT NULL
);
CREATE TABLE shop.orders (
  id         BIGINT AUTO_INCREMENT PRIMARY KEY,
  customer   VARCHAR(40)   NOT NULL,
  amount     DECIMAL(10,2) NOT NULL,
  created_at TIMESTAMP(6)  NOT NULL DEFAULT CURRENT_TIMESTAMP(6)
);
CREATE TABLE shop.invoices (
  id         BIGINT AUTO_INCREMENT PRIMARY KEY,
  order_id   BIGINT        NOT NULL,
  amount     DECIMAL(10,2) NOT NULL,
  created_at TIMESTAMP(6)  NOT NULL DEFAULT CURRENT_TIMESTAMP(6)
);
INSERT INTO shop.stock VALUES ('lamp', 100000), ('desk', 100000), ('chair', 100000);
-- Last year's orders, so that a base backup has something to carry.
SET SESSION cte_max_recursion_depth = 50000;
INSERT INTO shop.orders (customer, amount)
  WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)
  SELECT CONCAT('customer ', i % 977), i % 500 + 0.99 FROM n;
INSERT INTO shop.invoices (order_id, amount) SELECT id, amount FROM shop.orders;
-- What our agent may do: read the server's state, and copy the server for a base backup.
INSTALL PLUGIN clone SONAME 'mysql_clone.so';
CREATE USER pitr@'%' IDENTIFIED BY 'demo-pitr-password';
GRANT REPLICATION CLIENT, BACKUP_ADMIN, CLONE_ADMIN, SELECT, PROCESS, RELOAD, SHOW VIEW, TRIGGER, EVENT, REPLICATION SLAVE,
  SYSTEM_VARIABLES_ADMIN, BINLOG_ADMIN ON *.* TO pitr@'%';
