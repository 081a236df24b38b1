-- +goose Up
-- Times are microseconds since 1970 UTC, 0 for none. Flags are 0 or 1.
-- tags and counts are JSON.

-- One row per policy that ever fired: what its executions are serialised on.
CREATE TABLE policies (
  name           TEXT PRIMARY KEY,
  last_tick      BIGINT NOT NULL DEFAULT 0,
  schedule       TEXT NOT NULL DEFAULT '',  -- of last_tick
  last_execution BIGINT NOT NULL DEFAULT 0
);

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
CREATE UNIQUE INDEX executions_tick ON executions (policy, tick) WHERE tick > 0;
CREATE INDEX executions_policy ON executions (policy, id);
CREATE INDEX executions_open ON executions (policy, status) WHERE finished_at = 0;
-- At most one execution of a policy is active, and at most one waits.
CREATE UNIQUE INDEX executions_one_active ON executions (policy) WHERE status IN ('Pending', 'InProgress');
CREATE UNIQUE INDEX executions_one_waits ON executions (policy) WHERE status = 'Initialized';

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
);
CREATE UNIQUE INDEX tasks_repository ON tasks (execution_id, repository);
CREATE INDEX tasks_page ON tasks (execution_id, id);
CREATE INDEX tasks_open ON tasks (execution_id) WHERE status IN ('Initialized', 'Pending', 'InProgress');

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
CREATE UNIQUE INDEX subtasks_artifact ON subtasks (execution_id, repository, digest, tag_key);
CREATE INDEX subtasks_counts ON subtasks (execution_id, status, reason);
CREATE INDEX subtasks_task ON subtasks (task_id, id);
CREATE INDEX subtasks_failed ON subtasks (task_id) WHERE status = 'Failed';

-- Records outlive the executions they belong to: no reference.
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
);
CREATE INDEX records_digest ON records (digest, registry, repository, id);
CREATE INDEX records_repository ON records (registry, repository, id);
CREATE INDEX records_policy ON records (policy, id);
CREATE INDEX records_signing ON records (registry, repository, digest) WHERE state = 'signing';
CREATE INDEX records_interrupted ON records (registry, repository, digest, format, key_fingerprint, id) WHERE reason = 'interrupted';

CREATE TABLE claims (
  registry   TEXT NOT NULL,
  repository TEXT NOT NULL,
  digest     TEXT NOT NULL,
  token      TEXT NOT NULL,
  owner      TEXT NOT NULL,
  expires_at BIGINT NOT NULL,
  PRIMARY KEY (registry, repository, digest)
);

-- The one row that Ping writes.
CREATE TABLE pings (
  id        BIGINT PRIMARY KEY,
  pinged_at BIGINT NOT NULL
);

-- +goose Down
DROP TABLE pings;
DROP TABLE claims;
DROP TABLE records;
DROP TABLE subtasks;
DROP TABLE tasks;
DROP TABLE executions;
DROP TABLE policies;
