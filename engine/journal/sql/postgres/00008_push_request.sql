-- +goose Up
ALTER TABLE pushes ADD COLUMN request_id TEXT NOT NULL DEFAULT '';  -- of the request that told of it last
