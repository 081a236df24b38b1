package journal

import "encoding/json"

const selectExecution = `SELECT id, policy, policy_version, registry, trigger_type, tick, lane, status, reason, detail,
	tasks, counts, request_id, created_at, started_at, finished_at FROM executions`

func scanExecution(s scanner) (Execution, error) {
	var e Execution
	var tick, created, started, finished int64
	var counts string
	err := s.Scan(&e.ID, &e.Policy, &e.PolicyVersion, &e.Registry, &e.Trigger, &tick, &e.Lane, &e.Status, &e.Reason, &e.Detail,
		&e.Tasks, &counts, &e.RequestID, &created, &started, &finished)
	if err != nil {
		return Execution{}, err
	}
	e.Tick, e.CreatedAt = fromMicros(tick), fromMicros(created)
	e.StartedAt, e.FinishedAt = fromMicros(started), fromMicros(finished)
	if counts != "" {
		err = json.Unmarshal([]byte(counts), &e.Counts)
	}
	return e, err
}

const selectTask = `SELECT id, execution_id, repository, status, reason, detail, cursor, round, created_at, updated_at FROM tasks`

func scanTask(s scanner) (Task, error) {
	var t Task
	var created, updated int64
	err := s.Scan(&t.ID, &t.ExecutionID, &t.Repository, &t.Status, &t.Reason, &t.Detail, &t.Cursor, &t.Round, &created, &updated)
	t.CreatedAt, t.UpdatedAt = fromMicros(created), fromMicros(updated)
	return t, err
}

const selectSubtask = `SELECT id, execution_id, task_id, repository, digest, media_type, tags, status, reason, detail,
	tag_moved, created_at, updated_at FROM subtasks`

func scanSubtask(s scanner) (Subtask, error) {
	var t Subtask
	var tags string
	var moved, created, updated int64
	err := s.Scan(&t.ID, &t.ExecutionID, &t.TaskID, &t.Repository, &t.Digest, &t.MediaType, &tags, &t.Status, &t.Reason, &t.Detail,
		&moved, &created, &updated)
	if err != nil {
		return Subtask{}, err
	}
	t.TagMoved, t.CreatedAt, t.UpdatedAt = moved != 0, fromMicros(created), fromMicros(updated)
	t.Tags, err = fromJSON(tags)
	return t, err
}

const recordColumns = `id, execution_id, request_id, policy, policy_version, trigger_type, registry, repository, digest, tags,
	identity, format, key_name, key_fingerprint, key_version, algorithm, state, reason, signature, stored_as, tag_moved, created_at,
	finished_at`

const selectRecord = `SELECT ` + recordColumns + ` FROM records`

func scanRecord(s scanner) (Record, error) {
	var r Record
	var tags string
	var moved, created, finished int64
	err := s.Scan(&r.ID, &r.ExecutionID, &r.RequestID, &r.Policy, &r.PolicyVersion, &r.Trigger, &r.Registry, &r.Repository, &r.Digest, &tags,
		&r.Identity, &r.Format, &r.Key, &r.KeyFingerprint, &r.KeyVersion, &r.Algorithm, &r.State, &r.Reason, &r.Signature, &r.StoredAs,
		&moved, &created, &finished)
	if err != nil {
		return Record{}, err
	}
	r.TagMoved, r.CreatedAt, r.FinishedAt = moved != 0, fromMicros(created), fromMicros(finished)
	r.Tags, err = fromJSON(tags)
	return r, err
}
