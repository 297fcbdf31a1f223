CREATE TABLE `cms_outbox` (
    `id` BIGINT AUTO_INCREMENT PRIMARY KEY NOT NULL,
    `event_id` VARCHAR(80) NOT NULL,
    `node` VARCHAR(64) DEFAULT '' NOT NULL,
    `device` VARCHAR(255) DEFAULT '' NOT NULL,
    `contacts` VARCHAR(255) DEFAULT '' NOT NULL,
    `event` VARCHAR(16) DEFAULT '' NOT NULL,
    `reason` VARCHAR(16) DEFAULT '' NOT NULL,
    `created` BIGINT DEFAULT 0 NOT NULL,
    `state` INT DEFAULT 0 NOT NULL,
    `claimed_by` BIGINT DEFAULT 0 NOT NULL,
    `attempts` INT DEFAULT 0 NOT NULL,
    `cause` VARCHAR(16) DEFAULT '' NOT NULL,
    `status` INT DEFAULT 0 NOT NULL,
    `body` MEDIUMBLOB,
    CONSTRAINT cms_outbox_event_idx UNIQUE (`event_id`)
) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE INDEX cms_outbox_device_idx ON cms_outbox (`device`, `state`, `id`);
CREATE INDEX cms_outbox_claim_idx ON cms_outbox (`claimed_by`, `state`, `id`);

INSERT INTO version (table_name, table_version) values ('cms_outbox','1');
