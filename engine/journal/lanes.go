package journal

import (
	"context"
	"fmt"
	"time"
)

// A LaneDepth is how much work there is in a lane.
type LaneDepth struct {
	Lane Lane
	// Waiting are repositories that a worker could begin with now, Working those that
	// one is at.
	Waiting, Working int64
	// Oldest is when the first of those that wait came; zero if there is none.
	Oldest time.Time
}

// Depth returns how much work there is in each lane.
func (j *Journal) Depth(ctx context.Context) ([]LaneDepth, error) {
	found, err := collect(ctx, j.store.reader(), scanDepth, `SELECT e.lane,
			SUM(CASE WHEN t.status = 'InProgress' THEN 0 ELSE 1 END), SUM(CASE WHEN t.status = 'InProgress' THEN 1 ELSE 0 END),
			MIN(CASE WHEN t.status = 'InProgress' THEN NULL ELSE t.created_at END)
		FROM tasks t JOIN executions e ON e.id = t.execution_id
		WHERE t.status IN ('Initialized', 'Pending', 'InProgress') AND t.wake_at <= $1 GROUP BY e.lane`, micros(j.now()))
	if err != nil {
		return nil, fmt.Errorf("counting what waits: %w", err)
	}
	all := []LaneDepth{{Lane: Pushes}, {Lane: Live}, {Lane: Backlog}}
	for _, d := range found {
		for i := range all {
			if all[i].Lane == d.Lane {
				all[i] = d
			}
		}
	}
	return all, nil
}

func scanDepth(s scanner) (LaneDepth, error) {
	var d LaneDepth
	var oldest *int64
	err := s.Scan(&d.Lane, &d.Waiting, &d.Working, &oldest)
	if oldest != nil {
		d.Oldest = fromMicros(*oldest)
	}
	return d, err
}
