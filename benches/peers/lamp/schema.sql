-- mariadbd runs this file at each start (--init-file). lamp.py chooses the engine by --default-storage-engine.
-- VARBINARY, because ids are bytes: two ids are equal only if all bytes are. The MEMORY engine gives each row the full
-- width, therefore 255 and not the 4,096 bytes that our client port allows; its primary key is a hash.
CREATE DATABASE herd;
CREATE TABLE herd.reports (
    client VARBINARY(255) NOT NULL PRIMARY KEY,
    stamp DECIMAL(19, 9) NOT NULL,
    line VARBINARY(400) NOT NULL
);
