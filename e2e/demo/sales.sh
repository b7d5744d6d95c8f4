#!/bin/sh
# sales.sh: customers at work, as SQL for a mysql client that reads it: about ten orders a second, each one transaction
# with its invoice. Goes on without invoices when somebody has dropped them, as a shop would. Ends after fifty, so that the next
# fifty find a server that has restarted.
echo 'SET SESSION innodb_lock_wait_timeout = 5;'
i=0
while [ $i -lt 50 ]; do
  i=$((i + 1))
  amount=$((i * 37 % 400 + 1)).50
  cat <<SQL || exit # the client has gone, with its server
START TRANSACTION;
INSERT INTO shop.orders (customer, amount) VALUES ('customer $((i * 7 % 977))', $amount);
INSERT INTO shop.invoices (order_id, amount) VALUES (LAST_INSERT_ID(), $amount);
UPDATE shop.stock SET pieces = pieces - 1 WHERE article = 'lamp';
COMMIT;
SQL
  sleep 0.1
done
