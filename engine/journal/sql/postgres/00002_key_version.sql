-- +goose Up
ALTER TABLE records ADD COLUMN key_version TEXT NOT NULL DEFAULT '';  -- the key store's name of it
