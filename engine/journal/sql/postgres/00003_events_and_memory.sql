-- +goose Up
-- The inbox: what was pushed, by what events say, and is not dealt with yet.
CREATE TABLE pushes (
  id          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  task_id     BIGINT NOT NULL REFERENCES tasks (id),
  tag         TEXT NOT NULL,              -- empty: pushed by digest alone
  digest      TEXT NOT NULL,              -- what the tag names, by the newest event; empty: not told
  pushed_at   BIGINT NOT NULL,            -- the event's own time
  received_at BIGINT NOT NULL,
  due_at      BIGINT NOT NULL,            -- not to be looked at before
  attempts    BIGINT NOT NULL DEFAULT 0,
  seq         BIGINT NOT NULL DEFAULT 0   -- how often it was pushed again meanwhile
);
CREATE UNIQUE INDEX pushes_once ON pushes (task_id, tag);

ALTER TABLE tasks ADD COLUMN round BIGINT NOT NULL DEFAULT 0;    -- of the job that carries it out; older ones do nothing
ALTER TABLE tasks ADD COLUMN wake_at BIGINT NOT NULL DEFAULT 0;  -- until then nothing is due; 0 while something is

-- Executions that events began do not wait for one another.
DROP INDEX executions_one_active;
CREATE UNIQUE INDEX executions_one_active ON executions (policy)
  WHERE status IN ('Pending', 'InProgress') AND trigger_type <> 'event_based';

-- Artifacts of which everything that a policy wants was verified. terms says what that was.
CREATE TABLE memories (
  registry    TEXT NOT NULL,
  repository  TEXT NOT NULL,
  digest      TEXT NOT NULL,
  terms       TEXT NOT NULL,
  verified_at BIGINT NOT NULL,
  parts       TEXT NOT NULL DEFAULT '',   -- JSON: what is signed of an index besides, or instead of, itself
  PRIMARY KEY (registry, repository, digest, terms)
);
CREATE INDEX memories_age ON memories (verified_at);

-- What was verified before is not believed any more.
CREATE TABLE doubts (
  registry   TEXT NOT NULL,
  terms      TEXT NOT NULL,
  doubted_at BIGINT NOT NULL,
  PRIMARY KEY (registry, terms)
);
