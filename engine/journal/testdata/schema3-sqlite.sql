BEGIN TRANSACTION;
CREATE TABLE claims (
  registry   TEXT NOT NULL,
  repository TEXT NOT NULL,
  digest     TEXT NOT NULL,
  token      TEXT NOT NULL,
  owner      TEXT NOT NULL,
  expires_at BIGINT NOT NULL,
  PRIMARY KEY (registry, repository, digest)
);
INSERT INTO "claims" VALUES('prod','library/app','sha256:5','LNF63542DGLS7V2TYDS7YZ344H','old:1:OLD',1780311623000000);
INSERT INTO "claims" VALUES('prod','library/app','sha256:6','CO43V2JEPW6DMHH5XVAHU7B3AH','old:1:OLD',4933908024000000);
CREATE TABLE doubts (
  registry   TEXT NOT NULL,
  terms      TEXT NOT NULL,
  doubted_at BIGINT NOT NULL,
  PRIMARY KEY (registry, terms)
);
INSERT INTO "doubts" VALUES('prod','t2',1780308031000000);
CREATE TABLE executions (
  id             INTEGER PRIMARY KEY AUTOINCREMENT,
  policy         TEXT NOT NULL,
  policy_version TEXT NOT NULL,
  registry       TEXT NOT NULL,
  trigger_type   TEXT NOT NULL,
  tick           BIGINT NOT NULL,
  lane           TEXT NOT NULL,
  status         TEXT NOT NULL,
  reason         TEXT NOT NULL DEFAULT '',
  detail         TEXT NOT NULL DEFAULT '',
  walked         BIGINT NOT NULL DEFAULT 0,  -- all repositories are known
  tasks          BIGINT NOT NULL DEFAULT 0,  -- stored at the end, as counts
  counts         TEXT NOT NULL DEFAULT '',
  created_at     BIGINT NOT NULL,
  started_at     BIGINT NOT NULL DEFAULT 0,
  finished_at    BIGINT NOT NULL DEFAULT 0
);
INSERT INTO "executions" VALUES(1,'nightly','v1','prod','scheduled',1780308000000000,'backlog','Failed','artifacts_failed','1 artifacts failed',1,2,'{"total":4,"succeed":3,"failed":1,"stopped":0,"in_progress":0,"reasons":{"already_signed":1,"key_refused":1,"signed":2}}',1780308003000000,1780308004000000,1780308017000000);
INSERT INTO "executions" VALUES(2,'byhand','v2','prod','manual',0,'live','InProgress','','',1,0,'',1780308018000000,1780308019000000,0);
INSERT INTO "executions" VALUES(3,'byhand','v2','prod','manual',0,'live','Initialized','','',0,0,'',1780308025000000,0,0);
INSERT INTO "executions" VALUES(4,'pushed','v3','prod','event_based',0,'pushes','InProgress','','',1,0,'',1780308026000000,1780308026000000,0);
CREATE TABLE memories (
  registry    TEXT NOT NULL,
  repository  TEXT NOT NULL,
  digest      TEXT NOT NULL,
  terms       TEXT NOT NULL,
  verified_at BIGINT NOT NULL,
  parts       TEXT NOT NULL DEFAULT '',   -- JSON: what is signed of an index besides, or instead of, itself
  PRIMARY KEY (registry, repository, digest, terms)
);
INSERT INTO "memories" VALUES('prod','library/app','sha256:1','t1',1780308030000000,'');
CREATE TABLE pings (
  id        BIGINT PRIMARY KEY,
  pinged_at BIGINT NOT NULL
);
INSERT INTO "pings" VALUES(1,1780308032000000);
CREATE TABLE policies (
  name           TEXT PRIMARY KEY,
  last_tick      BIGINT NOT NULL DEFAULT 0,
  schedule       TEXT NOT NULL DEFAULT '',  -- of last_tick
  last_execution BIGINT NOT NULL DEFAULT 0
);
INSERT INTO "policies" VALUES('nightly',1780308000000000,'0 0 10 * * *',1);
INSERT INTO "policies" VALUES('byhand',0,'',0);
INSERT INTO "policies" VALUES('pushed',0,'',0);
CREATE TABLE pushes (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  task_id     BIGINT NOT NULL REFERENCES tasks (id),
  tag         TEXT NOT NULL,              -- empty: pushed by digest alone
  digest      TEXT NOT NULL,              -- what the tag names, by the newest event; empty: not told
  pushed_at   BIGINT NOT NULL,            -- the event's own time
  received_at BIGINT NOT NULL,
  due_at      BIGINT NOT NULL,            -- not to be looked at before
  attempts    BIGINT NOT NULL DEFAULT 0,
  seq         BIGINT NOT NULL DEFAULT 0   -- how often it was pushed again meanwhile
);
INSERT INTO "pushes" VALUES(1,4,'v2','sha256:7',1780308025000000,1780308027000000,1780308027000000,0,0);
INSERT INTO "pushes" VALUES(2,5,'v3','',1780308025000000,1780308029000000,1780308029000000,0,0);
CREATE TABLE records (
  id              INTEGER PRIMARY KEY AUTOINCREMENT,
  execution_id    BIGINT NOT NULL,
  policy          TEXT NOT NULL,
  policy_version  TEXT NOT NULL,
  trigger_type    TEXT NOT NULL,
  registry        TEXT NOT NULL,
  repository      TEXT NOT NULL,
  digest          TEXT NOT NULL,
  tags            TEXT NOT NULL,
  identity        TEXT NOT NULL,
  format          TEXT NOT NULL,
  key_name        TEXT NOT NULL,
  key_fingerprint TEXT NOT NULL,
  algorithm       TEXT NOT NULL,
  state           TEXT NOT NULL,
  reason          TEXT NOT NULL,
  signature       TEXT NOT NULL,
  stored_as       TEXT NOT NULL,
  tag_moved       BIGINT NOT NULL,
  created_at      BIGINT NOT NULL,
  finished_at     BIGINT NOT NULL
, key_version TEXT NOT NULL DEFAULT '');
INSERT INTO "records" VALUES(1,1,'nightly','v1','scheduled','prod','library/app','sha256:1','["v1 \u003c\u0026\u003e"]','registry.example.com/library/app','cosign','release','ff','ECDSA_SHA_256','signed','signed','c2ln','sha256:stored',0,1780308008000000,1780308009000000,'2');
INSERT INTO "records" VALUES(2,1,'nightly','v1','scheduled','prod','library/app','sha256:2','["v1 \u003c\u0026\u003e"]','registry.example.com/library/app','cosign','release','ff','ECDSA_SHA_256','signed','signed','c2ln','sha256:stored',0,1780308010000000,1780308011000000,'2');
INSERT INTO "records" VALUES(3,1,'nightly','v1','scheduled','prod','library/app','sha256:2','["v1 \u003c\u0026\u003e"]','registry.example.com/library/app','bundle','release','ff','ECDSA_SHA_256','signed','signed','c2ln','sha256:stored',0,1780308010000000,1780308011000000,'2');
INSERT INTO "records" VALUES(4,1,'nightly','v1','scheduled','prod','library/app','sha256:3','["v1 \u003c\u0026\u003e"]','registry.example.com/library/app','cosign','release','ff','ECDSA_SHA_256','failed','key_refused','c2ln','sha256:stored',0,1780308012000000,1780308013000000,'2');
INSERT INTO "records" VALUES(5,2,'nightly','v1','scheduled','prod','library/app','sha256:5','["v1 \u003c\u0026\u003e"]','registry.example.com/library/app','cosign','release','ff','ECDSA_SHA_256','signing','','','',0,1780308023000000,0,'2');
INSERT INTO "records" VALUES(6,2,'nightly','v1','scheduled','prod','library/app','sha256:6','["v1 \u003c\u0026\u003e"]','registry.example.com/library/app','cosign','release','ff','ECDSA_SHA_256','signing','','','',0,1780308024000000,0,'2');
CREATE TABLE river_job (
    id integer PRIMARY KEY, -- SQLite makes this autoincrementing automatically
    args blob NOT NULL DEFAULT (jsonb('{}')),
    attempt integer NOT NULL DEFAULT 0,
    attempted_at timestamp,
    attempted_by blob, -- json
    created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
    errors blob, -- json
    finalized_at timestamp,
    kind text NOT NULL,
    metadata blob NOT NULL DEFAULT (jsonb('{}')),
    priority integer NOT NULL DEFAULT 1,
    queue text NOT NULL DEFAULT 'default',
    state text NOT NULL DEFAULT 'available',
    scheduled_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
    tags blob NOT NULL DEFAULT (jsonb('[]')),
    unique_key blob,
    unique_states integer, max_attempts integer NOT NULL DEFAULT 25,
    CONSTRAINT finalized_or_finalized_at_null CHECK (
        (finalized_at IS NULL AND state NOT IN ('cancelled', 'completed', 'discarded')) OR
        (finalized_at IS NOT NULL AND state IN ('cancelled', 'completed', 'discarded'))
    ),
    CONSTRAINT priority_in_range CHECK (priority >= 1 AND priority <= 4),
    CONSTRAINT queue_length CHECK (length(queue) > 0 AND length(queue) < 128),
    CONSTRAINT kind_length CHECK (length(kind) > 0 AND length(kind) < 128),
    CONSTRAINT state_valid CHECK (state IN ('available', 'cancelled', 'completed', 'discarded', 'pending', 'retryable', 'running', 'scheduled'))
);
INSERT INTO "river_job" VALUES(1,X'CC10C70C657865637574696F6E5F69641331',0,NULL,NULL,'2025-06-01 10:00:00',NULL,NULL,'sealwright_walk',X'CC26C71272697665723A756E697175655F6E6F6E6365C71038383961326538336465303831666131',1,'backlog','available','2025-06-01 10:00:00',X'0B',X'26DFF7C23E4F4A30EAAFD9796285A26A0E0B7F9B3AD1A735DFEFBD9D24CCB1B2',241,25);
INSERT INTO "river_job" VALUES(2,X'AC777461736B5F69641331',0,NULL,NULL,'2025-06-01 10:00:00',NULL,NULL,'sealwright_task',X'CC26C71272697665723A756E697175655F6E6F6E6365C71039633866363836393339646339313765',2,'backlog','available','2025-06-01 10:00:00',X'0B',X'9D8C8CA2A9DA98859F0E5905971DDB874457FFC48B81F9A05BB577CFE04F9274',241,25);
INSERT INTO "river_job" VALUES(3,X'AC777461736B5F69641332',0,NULL,NULL,'2025-06-01 10:00:00',NULL,NULL,'sealwright_task',X'CC26C71272697665723A756E697175655F6E6F6E6365C71039633866363836393339646339313765',2,'backlog','available','2025-06-01 10:00:00',X'0B',X'1EC8E9CD76F7398937D6EEEA492E47B1A408B2C5A8C3D9B07936FEE9C7FC7925',241,25);
INSERT INTO "river_job" VALUES(4,X'CC10C70C657865637574696F6E5F69641332',0,NULL,NULL,'2025-06-01 10:00:00',NULL,NULL,'sealwright_walk',X'CC26C71272697665723A756E697175655F6E6F6E6365C71036636333636163656532393063656532',1,'live','available','2025-06-01 10:00:00',X'0B',X'8E84041A9AE1AC5FC5C6F8D24862C9B495346909E91C426837CF61B095D07B25',241,25);
INSERT INTO "river_job" VALUES(5,X'AC777461736B5F69641333',0,NULL,NULL,'2025-06-01 10:00:00',NULL,NULL,'sealwright_task',X'CC26C71272697665723A756E697175655F6E6F6E6365C71064663032306263386339373633353162',2,'live','available','2025-06-01 10:00:00',X'0B',X'FA04C951E967C76B37CC655876D2CC94C8EFC5BF49327B7EE3009C221E5B30D2',241,25);
INSERT INTO "river_job" VALUES(6,X'AC777461736B5F69641334',0,NULL,NULL,'2025-06-01 10:00:00',NULL,NULL,'sealwright_task',X'CC26C71272697665723A756E697175655F6E6F6E6365C71032346333663232313137633338366166',2,'pushes','available','2025-06-01 10:00:00',X'0B',X'D9BEFFA3AE194724234E12F749548DBEC0D6205F28DD9BAF29405736CBA09292',241,25);
INSERT INTO "river_job" VALUES(7,X'AC777461736B5F69641335',0,NULL,NULL,'2025-06-01 10:00:00',NULL,NULL,'sealwright_task',X'CC26C71272697665723A756E697175655F6E6F6E6365C71064366338383337353735643037626562',2,'pushes','available','2025-06-01 10:00:00',X'0B',X'FE3216D365041CB20C2189CBF43BDAC08F60DED246C5A5825FCA57FE8324B78F',241,25);
CREATE TABLE river_leader (
    elected_at timestamp NOT NULL,
    expires_at timestamp NOT NULL,
    leader_id text NOT NULL,
    name text PRIMARY KEY NOT NULL DEFAULT 'default' CHECK (name = 'default'),
    CONSTRAINT name_length CHECK (length(name) > 0 AND length(name) < 128),
    CONSTRAINT leader_id_length CHECK (length(leader_id) > 0 AND length(leader_id) < 128)
);
CREATE TABLE river_migration (
    line text NOT NULL,
    version integer NOT NULL,
    created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT line_length CHECK (length(line) > 0 AND length(line) < 128),
    CONSTRAINT version_gte_1 CHECK (version >= 1),
    PRIMARY KEY (line, version)
);
INSERT INTO "river_migration" VALUES('main',1,'2025-06-01 10:00:00');
INSERT INTO "river_migration" VALUES('main',2,'2025-06-01 10:00:00');
INSERT INTO "river_migration" VALUES('main',3,'2025-06-01 10:00:00');
INSERT INTO "river_migration" VALUES('main',4,'2025-06-01 10:00:00');
INSERT INTO "river_migration" VALUES('main',5,'2025-06-01 10:00:00');
INSERT INTO "river_migration" VALUES('main',6,'2025-06-01 10:00:00');
INSERT INTO "river_migration" VALUES('main',7,'2025-06-01 10:00:00');
CREATE TABLE river_notification (
    id integer PRIMARY KEY AUTOINCREMENT,
    created_at timestamp NOT NULL DEFAULT (datetime('now', 'subsec')),
    payload text NOT NULL,
    topic text NOT NULL,
    CONSTRAINT topic_length CHECK (length(topic) > 0 AND length(topic) < 128)
);
INSERT INTO "river_notification" VALUES(1,'2025-06-01 10:00:00','{"queue": "backlog"}','river_insert');
INSERT INTO "river_notification" VALUES(2,'2025-06-01 10:00:00','{"queue": "backlog"}','river_insert');
INSERT INTO "river_notification" VALUES(3,'2025-06-01 10:00:00','{"queue": "live"}','river_insert');
INSERT INTO "river_notification" VALUES(4,'2025-06-01 10:00:00','{"queue": "live"}','river_insert');
INSERT INTO "river_notification" VALUES(5,'2025-06-01 10:00:00','{"queue": "pushes"}','river_insert');
INSERT INTO "river_notification" VALUES(6,'2025-06-01 10:00:00','{"queue": "pushes"}','river_insert');
CREATE TABLE river_queue (
    name text PRIMARY KEY NOT NULL,
    created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
    metadata blob NOT NULL DEFAULT (jsonb('{}')),
    paused_at timestamp,
    updated_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE sealwright_schema (
		id INTEGER PRIMARY KEY AUTOINCREMENT,
		version_id INTEGER NOT NULL,
		is_applied INTEGER NOT NULL,
		tstamp TIMESTAMP DEFAULT (datetime('now'))
	);
INSERT INTO "sealwright_schema" VALUES(1,0,1,'2025-06-01 10:00:00');
INSERT INTO "sealwright_schema" VALUES(2,1,1,'2025-06-01 10:00:00');
INSERT INTO "sealwright_schema" VALUES(3,2,1,'2025-06-01 10:00:00');
INSERT INTO "sealwright_schema" VALUES(4,3,1,'2025-06-01 10:00:00');
CREATE TABLE subtasks (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  execution_id BIGINT NOT NULL REFERENCES executions (id),
  task_id      BIGINT NOT NULL REFERENCES tasks (id),
  repository   TEXT NOT NULL,
  digest       TEXT NOT NULL,
  tag_key      TEXT NOT NULL,  -- the tags of an artifact without digest, else empty
  media_type   TEXT NOT NULL,
  tags         TEXT NOT NULL,
  status       TEXT NOT NULL,
  reason       TEXT NOT NULL,
  detail       TEXT NOT NULL,
  tag_moved    BIGINT NOT NULL,
  created_at   BIGINT NOT NULL,
  updated_at   BIGINT NOT NULL
);
INSERT INTO "subtasks" VALUES(1,1,1,'library/app','sha256:1','','','["v1 \u003c\u0026\u003e"]','Succeed','signed','',0,1780308008000000,1780308009000000);
INSERT INTO "subtasks" VALUES(2,1,1,'library/app','sha256:2','','','["v1 \u003c\u0026\u003e"]','Succeed','signed','',0,1780308010000000,1780308011000000);
INSERT INTO "subtasks" VALUES(3,1,1,'library/app','sha256:3','','','["v1 \u003c\u0026\u003e"]','Failed','key_refused','',0,1780308012000000,1780308013000000);
INSERT INTO "subtasks" VALUES(4,1,2,'library/web','sha256:4','','','[]','Succeed','already_signed','',0,1780308015000000,1780308015000000);
INSERT INTO "subtasks" VALUES(5,2,3,'library/app','sha256:5','','','["v1 \u003c\u0026\u003e"]','InProgress','','',0,1780308023000000,1780308023000000);
INSERT INTO "subtasks" VALUES(6,2,3,'library/app','sha256:6','','','["v1 \u003c\u0026\u003e"]','InProgress','','',0,1780308024000000,1780308024000000);
CREATE TABLE tasks (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  execution_id BIGINT NOT NULL REFERENCES executions (id),
  repository   TEXT NOT NULL,
  status       TEXT NOT NULL,
  reason       TEXT NOT NULL DEFAULT '',
  detail       TEXT NOT NULL DEFAULT '',
  cursor       TEXT NOT NULL DEFAULT '',
  stalls       BIGINT NOT NULL DEFAULT 0,  -- slices of work in a row without progress
  created_at   BIGINT NOT NULL,
  updated_at   BIGINT NOT NULL
, round BIGINT NOT NULL DEFAULT 0, wake_at BIGINT NOT NULL DEFAULT 0);
INSERT INTO "tasks" VALUES(1,1,'library/app','Failed','artifacts_failed','','',0,1780308005000000,1780308014000000,0,0);
INSERT INTO "tasks" VALUES(2,1,'library/web','Succeed','','','',0,1780308005000000,1780308016000000,0,0);
INSERT INTO "tasks" VALUES(3,2,'library/app','InProgress','','','v0',0,1780308020000000,1780308022000000,0,0);
INSERT INTO "tasks" VALUES(4,4,'library/app','Pending','','','',0,1780308028000000,1780308028000000,0,0);
INSERT INTO "tasks" VALUES(5,4,'library/web','Pending','','','',0,1780308030000000,1780308030000000,0,0);
CREATE UNIQUE INDEX executions_tick ON executions (policy, tick) WHERE tick > 0;
CREATE INDEX executions_policy ON executions (policy, id);
CREATE INDEX executions_open ON executions (policy, status) WHERE finished_at = 0;
CREATE UNIQUE INDEX executions_one_waits ON executions (policy) WHERE status = 'Initialized';
CREATE UNIQUE INDEX tasks_repository ON tasks (execution_id, repository);
CREATE INDEX tasks_page ON tasks (execution_id, id);
CREATE INDEX tasks_open ON tasks (execution_id) WHERE status IN ('Initialized', 'Pending', 'InProgress');
CREATE UNIQUE INDEX subtasks_artifact ON subtasks (execution_id, repository, digest, tag_key);
CREATE INDEX subtasks_counts ON subtasks (execution_id, status, reason);
CREATE INDEX subtasks_task ON subtasks (task_id, id);
CREATE INDEX subtasks_failed ON subtasks (task_id) WHERE status = 'Failed';
CREATE INDEX records_digest ON records (digest, registry, repository, id);
CREATE INDEX records_repository ON records (registry, repository, id);
CREATE INDEX records_policy ON records (policy, id);
CREATE INDEX records_signing ON records (registry, repository, digest) WHERE state = 'signing';
CREATE INDEX records_interrupted ON records (registry, repository, digest, format, key_fingerprint, id) WHERE reason = 'interrupted';
CREATE UNIQUE INDEX pushes_once ON pushes (task_id, tag);
CREATE UNIQUE INDEX executions_one_active ON executions (policy)
  WHERE status IN ('Pending', 'InProgress') AND trigger_type <> 'event_based';
CREATE INDEX memories_age ON memories (verified_at);
CREATE INDEX river_notification_created_at_idx ON river_notification (created_at);
CREATE INDEX river_notification_topic_id_idx ON river_notification (topic, id);
CREATE INDEX river_job_kind ON river_job (kind);
CREATE INDEX river_job_state_and_finalized_at_index ON river_job (state, finalized_at) WHERE finalized_at IS NOT NULL;
CREATE INDEX river_job_prioritized_fetching_index ON river_job (state, queue, priority, scheduled_at, id);
CREATE UNIQUE INDEX river_job_unique_idx ON river_job (unique_key)
    WHERE unique_key IS NOT NULL
        AND unique_states IS NOT NULL
        AND CASE state
            WHEN 'available' THEN unique_states & (1 << 0)
            WHEN 'cancelled' THEN unique_states & (1 << 1)
            WHEN 'completed' THEN unique_states & (1 << 2)
            WHEN 'discarded' THEN unique_states & (1 << 3)
            WHEN 'pending'   THEN unique_states & (1 << 4)
            WHEN 'retryable' THEN unique_states & (1 << 5)
            WHEN 'running'   THEN unique_states & (1 << 6)
            WHEN 'scheduled' THEN unique_states & (1 << 7)
            ELSE 0
        END >= 1;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('sealwright_schema',4);
INSERT INTO "sqlite_sequence" VALUES('executions',4);
INSERT INTO "sqlite_sequence" VALUES('river_notification',6);
INSERT INTO "sqlite_sequence" VALUES('tasks',5);
INSERT INTO "sqlite_sequence" VALUES('subtasks',6);
INSERT INTO "sqlite_sequence" VALUES('records',6);
INSERT INTO "sqlite_sequence" VALUES('pushes',2);
COMMIT;
