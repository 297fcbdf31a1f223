CREATE TABLE `cms_outbox` (
    `event_id` VARCHAR(80) PRIMARY KEY NOT NULL,
    `seq` BIGINT DEFAULT 0 NOT NULL,
    `owner` BIGINT DEFAULT 0 NOT NULL,
    `node` VARCHAR(64) DEFAULT '' NOT NULL,
    `aor` VARCHAR(255) DEFAULT '' NOT NULL,
    `contacts` VARCHAR(255) DEFAULT '' NOT NULL,
    `event` VARCHAR(16) DEFAULT '' NOT NULL,
    `reason` VARCHAR(16) DEFAULT '' NOT NULL,
    `created` BIGINT DEFAULT 0 NOT NULL,
    `state` INT DEFAULT 0 NOT NULL,
    `attempts` INT DEFAULT 0 NOT NULL,
    `cause` VARCHAR(16) DEFAULT '' NOT NULL,
    `status` INT DEFAULT 0 NOT NULL,
    `body` MEDIUMBLOB
) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE INDEX cms_outbox_owner_idx ON cms_outbox (`owner`, `seq`);

INSERT INTO version (table_name, table_version) values ('cms_outbox','2');
