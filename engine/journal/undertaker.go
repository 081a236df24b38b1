package journal

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"go.uber.org/zap"
)

// undertaker ends what a job belongs to when the job failed for the last time.
type undertaker struct{ j *Journal }

// HandleError implements river.ErrorHandler.
func (u undertaker) HandleError(ctx context.Context, job *rivertype.JobRow, err error) *river.ErrorHandlerResult {
	u.j.log.Warn("job failed", zap.String("kind", job.Kind), zap.Int64("job", job.ID),
		zap.ByteString("args", job.EncodedArgs), zap.Int("attempt", job.Attempt), zap.Error(err))
	u.bury(ctx, job, err.Error())
	return nil
}

// HandlePanic implements river.ErrorHandler.
func (u undertaker) HandlePanic(ctx context.Context, job *rivertype.JobRow, value any, trace string) *river.ErrorHandlerResult {
	u.j.log.Error("job panicked", zap.String("kind", job.Kind), zap.Int64("job", job.ID),
		zap.ByteString("args", job.EncodedArgs), zap.Int("attempt", job.Attempt),
		zap.Any("panic", value), zap.String("stack", trace))
	u.bury(ctx, job, fmt.Sprintf("panic: %v", value))
	return nil
}

// bury does nothing while there are attempts left. If it cannot write, the
// sweeper will do its work.
func (u undertaker) bury(ctx context.Context, job *rivertype.JobRow, detail string) {
	if job.Attempt < job.MaxAttempts {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), batchTimeout)
	defer cancel()
	if err := u.j.endWorkOf(ctx, job.Kind, job.EncodedArgs, detail); err != nil {
		u.j.log.Error("ending the work of a discarded job", zap.Int64("job", job.ID), zap.Error(err))
	}
}

// endWorkOf ends the execution or task of a job that was discarded.
func (j *Journal) endWorkOf(ctx context.Context, kind string, args []byte, detail string) error {
	switch kind {
	case walkArgs{}.Kind():
		var a walkArgs
		if err := json.Unmarshal(args, &a); err != nil {
			return err
		}
		return j.EndExecution(ctx, a.ExecutionID, Failed, ReasonJobDiscarded, detail)
	case taskArgs{}.Kind():
		var a taskArgs
		if err := json.Unmarshal(args, &a); err != nil {
			return err
		}
		if t, err := taskByID(ctx, j.store.reader(), a.TaskID); err != nil || t.Round > a.Round {
			return err // another job took its place
		}
		return j.EndTask(ctx, a.TaskID, Failed, ReasonJobDiscarded, detail)
	}
	return nil // a kind of another version of Sealwright
}
