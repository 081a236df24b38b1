package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// An ImageSignatureFilter chooses signatures. Zero fields choose all.
type ImageSignatureFilter struct {
	// Registries are those whose signatures are chosen.
	Registries []string
	// Namespaces are those whose signatures are chosen, with what is below them.
	Namespaces []string
	// Repository is a full name, or the beginning of names if Prefix is set.
	Repository string
	Prefix     bool

	Digest, ImageID, DisplayName, KeyID, KeyVersionID, Algorithm string

	// ByName sorts by display names, not by times; Descending from the last.
	ByName, Descending bool
	// After is the last signature of the page before.
	After *ImageSignaturePlace
	Limit int // default 100
}

// An ImageSignaturePlace is where a signature is in a list, by its time or name and
// its number.
type ImageSignaturePlace struct {
	Micros int64
	Name   string
	Number int64
}

// Place is where the signature is in lists.
func (s ImageSignature) Place() ImageSignaturePlace {
	return ImageSignaturePlace{Micros: micros(s.CreatedAt), Name: s.DisplayName, Number: s.Number}
}

// ImageSignatures returns a page of signatures, and how many come after it.
func (j *Journal) ImageSignatures(ctx context.Context, f ImageSignatureFilter) ([]ImageSignature, int64, error) {
	w := f.where()
	column, direction := "created_at", " ASC"
	if f.ByName {
		column = "display_name"
	}
	if f.Descending {
		direction = " DESC"
	}
	q := j.store.reader()
	list, err := collect(ctx, q, scanImageSignature, selectImageSignature+w.sql()+
		` ORDER BY `+column+direction+`, id`+direction+` `+limit(f.Limit), w.args...)
	if err != nil {
		return nil, 0, fmt.Errorf("reading signatures: %w", err)
	}
	if len(list) == 0 {
		return nil, 0, nil
	}
	last := list[len(list)-1].Place()
	f.After = &last
	w = f.where()
	rest, err := scanID(q.queryRow(ctx, `SELECT COUNT(*) FROM image_signatures`+w.sql(), w.args...))
	if err != nil {
		return nil, 0, fmt.Errorf("counting signatures: %w", err)
	}
	return list, rest, nil
}

func (f *ImageSignatureFilter) where() where {
	var w where
	w.in("registry", f.Registries)
	w.within(f.Namespaces)
	if f.Prefix {
		w.prefix("repository", f.Repository)
	} else {
		w.equal("repository", f.Repository)
	}
	w.equal("digest", f.Digest)
	w.equal("image_id", f.ImageID)
	w.equal("display_name", f.DisplayName)
	w.equal("key_id", f.KeyID)
	w.equal("key_version_id", f.KeyVersionID)
	w.equal("algorithm", f.Algorithm)
	if f.After == nil {
		return w
	}
	compare := " > "
	if f.Descending {
		compare = " < "
	}
	if f.ByName {
		w.conditions = append(w.conditions, "(display_name, id)"+compare+"("+w.arg(f.After.Name)+", "+w.arg(f.After.Number)+")")
	} else {
		w.conditions = append(w.conditions, "(created_at, id)"+compare+"("+w.arg(f.After.Micros)+", "+w.arg(f.After.Number)+")")
	}
	return w
}

// An ImageRepository is a repository that Oracle Artifacts' API calls by an id.
type ImageRepository struct{ ID, Registry, Repository string }

// repositoriesPerWrite keeps a transaction short.
const repositoriesPerWrite = 500

// KeepImageRepositories makes the ids of repositories known.
func (j *Journal) KeepImageRepositories(ctx context.Context, list []ImageRepository) error {
	list = slices.SortedFunc(slices.Values(list), func(a, b ImageRepository) int { return strings.Compare(a.ID, b.ID) }) // replicas take row locks in the same order
	for some := range slices.Chunk(list, repositoriesPerWrite) {
		err := j.write(ctx, "image repositories", func(ctx context.Context, q querier) error { return keepImageRepositories(ctx, q, some) })
		if err != nil {
			return fmt.Errorf("writing down ids of repositories: %w", err)
		}
	}
	return nil
}

func keepImageRepositories(ctx context.Context, q querier, list []ImageRepository) error {
	for _, r := range list {
		if _, err := q.exec(ctx, `INSERT INTO image_repositories (id, registry, repository) VALUES ($1, $2, $3)
			ON CONFLICT (id) DO NOTHING`, r.ID, r.Registry, r.Repository); err != nil {
			return undo{err}
		}
	}
	return nil
}

// ImageRepository returns the repository of that id, or ErrNotFound.
func (j *Journal) ImageRepository(ctx context.Context, id string) (ImageRepository, error) {
	r := ImageRepository{ID: id}
	err := notFound(j.store.reader().queryRow(ctx, `SELECT registry, repository FROM image_repositories WHERE id = $1`, id).Scan(&r.Registry, &r.Repository))
	if err != nil && !errors.Is(err, ErrNotFound) {
		err = fmt.Errorf("reading a repository's id: %w", err)
	}
	return r, err
}
