-- +goose Up
-- Signature keys: credentials that authenticate HTTP requests. What is secret of
-- one is encrypted before it comes here.
CREATE TABLE signature_keys (
  number     INTEGER PRIMARY KEY AUTOINCREMENT,
  id         TEXT NOT NULL UNIQUE,        -- what clients know it by
  registry   TEXT NOT NULL,
  name       TEXT NOT NULL,
  type       TEXT NOT NULL,
  sign_key   TEXT NOT NULL,               -- empty if it is secret too
  algorithm  TEXT NOT NULL,
  sealed     TEXT NOT NULL,               -- what is secret, encrypted
  sealed_by  TEXT NOT NULL,               -- the id of the key that encrypted it
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  UNIQUE (registry, name)
);

-- What signature keys are used for. An API has one at most.
CREATE TABLE signature_bindings (
  number   INTEGER PRIMARY KEY AUTOINCREMENT,
  id       TEXT NOT NULL UNIQUE,
  key_id   TEXT NOT NULL REFERENCES signature_keys (id),
  api      TEXT NOT NULL UNIQUE,
  bound_at BIGINT NOT NULL
);
CREATE INDEX signature_bindings_key ON signature_bindings (key_id);
