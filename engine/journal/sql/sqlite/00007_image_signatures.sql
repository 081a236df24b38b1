-- +goose Up
-- Container image signatures that were uploaded through Oracle Artifacts' API.
-- Text that is compared by order is compared by its bytes.
CREATE TABLE image_signatures (
  id              INTEGER PRIMARY KEY AUTOINCREMENT,
  ocid            TEXT NOT NULL UNIQUE,
  registry        TEXT NOT NULL,
  repository      TEXT NOT NULL,
  digest          TEXT NOT NULL,
  compartment_id  TEXT NOT NULL,
  image_id        TEXT NOT NULL,
  key_id          TEXT NOT NULL,
  key_version_id  TEXT NOT NULL,
  algorithm       TEXT NOT NULL,
  message         TEXT NOT NULL,             -- base64, as it was uploaded
  signature       TEXT NOT NULL,             -- base64, as it was uploaded
  display_name    TEXT NOT NULL,
  creator         TEXT NOT NULL,
  freeform_tags   TEXT NOT NULL,             -- JSON
  defined_tags    TEXT NOT NULL,             -- JSON
  etag            TEXT NOT NULL,
  created_at      BIGINT NOT NULL,
  updated_at      BIGINT NOT NULL
);
CREATE INDEX image_signatures_image ON image_signatures (registry, repository, digest);
CREATE INDEX image_signatures_time ON image_signatures (created_at, id);
CREATE INDEX image_signatures_name ON image_signatures (display_name, id);

-- What a caller said to tell a call that it repeats from another one.
CREATE TABLE retry_tokens (
  caller     TEXT NOT NULL,
  token      TEXT NOT NULL,
  call       TEXT NOT NULL,                  -- hash of what was asked for
  resource   TEXT NOT NULL,                  -- ocid of what was created
  created_at BIGINT NOT NULL,
  PRIMARY KEY (caller, token)
);
CREATE INDEX retry_tokens_time ON retry_tokens (created_at);

-- Repositories whose id was handed out. The id is a hash.
CREATE TABLE image_repositories (
  id         TEXT PRIMARY KEY,
  registry   TEXT NOT NULL,
  repository TEXT NOT NULL
);
