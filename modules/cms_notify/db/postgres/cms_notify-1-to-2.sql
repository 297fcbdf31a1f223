ALTER TABLE cms_outbox RENAME TO cms_outbox_1;

CREATE TABLE cms_outbox (
    event_id VARCHAR(80) PRIMARY KEY NOT NULL,
    seq BIGINT DEFAULT 0 NOT NULL,
    owner BIGINT DEFAULT 0 NOT NULL,
    node VARCHAR(64) DEFAULT '' NOT NULL,
    aor VARCHAR(255) DEFAULT '' NOT NULL,
    contacts VARCHAR(255) DEFAULT '' NOT NULL,
    event VARCHAR(16) DEFAULT '' NOT NULL,
    reason VARCHAR(16) DEFAULT '' NOT NULL,
    created BIGINT DEFAULT 0 NOT NULL,
    state INTEGER DEFAULT 0 NOT NULL,
    attempts INTEGER DEFAULT 0 NOT NULL,
    cause VARCHAR(16) DEFAULT '' NOT NULL,
    status INTEGER DEFAULT 0 NOT NULL,
    body BYTEA
);

CREATE INDEX cms_outbox_owner_idx ON cms_outbox (owner, seq);

INSERT INTO cms_outbox (event_id, seq, owner, node, aor, contacts, event, reason, created, state, attempts, cause, status, body)
    SELECT event_id, created, 0, node, device, contacts, event, reason, created,
        CASE state WHEN 1 THEN 1 ELSE 0 END, attempts, cause, status, body
    FROM cms_outbox_1 WHERE state IN (0, 1, 3);

DROP TABLE cms_outbox_1;

UPDATE version SET table_version = 2 WHERE table_name = 'cms_outbox';
