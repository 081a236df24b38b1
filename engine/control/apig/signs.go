package apig

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/sealwright/sealwright/engine/journal"
)

// The members of a signature key that are told apart in errors.
const (
	fieldName      = "name"
	fieldType      = "sign_type"
	fieldKey       = "sign_key"
	fieldSecret    = "sign_secret"
	fieldAlgorithm = "sign_algorithm"
)

// mask is shown instead of a secret that was shown before. No secret can be it.
const mask = "************"

// A sign is a signature key as it is answered.
type sign struct {
	Name      string    `json:"name"`
	Type      string    `json:"sign_type"`
	Key       string    `json:"sign_key"`
	Secret    string    `json:"sign_secret"`
	Algorithm string    `json:"sign_algorithm,omitempty"`
	Updated   time.Time `json:"update_time"`
	Created   time.Time `json:"create_time"`
	ID        string    `json:"id"`
}

// A listedSign is one in a list.
type listedSign struct {
	sign
	Bindings int `json:"bind_num"`
	Custom   int `json:"ldapi_bind_num"` // custom backends, which there are none of
}

// masked is a signature key without what is secret.
func masked(k journal.SignatureKey) sign {
	s := sign{Name: k.Name, Type: k.Type, Key: k.Key, Secret: mask, Algorithm: k.Algorithm, Updated: k.UpdatedAt, Created: k.CreatedAt, ID: k.ID}
	if s.Key == "" {
		s.Key = mask
	}
	return s
}

// A wish is what a signature key shall be: a body that was read.
type wish struct {
	name, kind, algorithm, key, secret string
	keyRule, secretRule                rule
}

// parseWish reads what create and update have in common: everything. A key or secret
// that is the mask is not looked at.
func parseWish(body []byte) (wish, error) {
	doc, err := parse(body)
	if err != nil {
		return wish{}, err
	}
	w := wish{}
	values := []*string{&w.name, &w.kind, &w.key, &w.secret, &w.algorithm}
	for i, name := range []string{fieldName, fieldType, fieldKey, fieldSecret, fieldAlgorithm} {
		if *values[i], err = doc.text(name); err != nil {
			return wish{}, err
		}
	}
	if w.kind == "" {
		w.kind = typeHMAC
	}
	var wrong, allowed string
	w.keyRule, w.secretRule, wrong, allowed = rulesOf(w.kind, w.algorithm)
	switch {
	case w.name == "":
		return wish{}, missing(fieldName)
	case !names.fits(w.name):
		return wish{}, invalid(fieldName, names.String())
	case wrong != "":
		return wish{}, invalid(wrong, allowed)
	}
	return w, nil
}

// fill checks key and secret, and generates what is missing.
func (w *wish) fill() error {
	if w.key == "" {
		w.key = w.keyRule.generate()
	}
	if w.secret == "" {
		w.secret = w.secretRule.generate()
	}
	if !w.keyRule.fits(w.key) {
		return invalid(fieldKey, w.keyRule.String())
	}
	if !w.secretRule.fits(w.secret) {
		return invalid(fieldSecret, w.secretRule.String())
	}
	return nil
}

// apply makes a signature key what is wished. The key of AES is a secret too.
func (w *wish) apply(s *Seal, k *journal.SignatureKey) error {
	k.Name, k.Type, k.Algorithm, k.Key = w.name, w.kind, w.algorithm, w.key
	hidden := secrets{Secret: w.secret}
	if w.kind == typeAES {
		hidden.Key, k.Key = w.key, ""
	}
	return s.close(k, hidden)
}

func (h *handler) create(ctx context.Context, c call) (answer, error) {
	w, err := parseWish(c.body)
	if err == nil {
		err = w.fill()
	}
	if err != nil {
		return answer{}, err
	}
	k := journal.SignatureKey{ID: randomHex(), Registry: c.registry}
	if err := w.apply(h.o.Seal, &k); err != nil {
		return answer{}, err
	}
	err = h.change(ctx, c, "CreateSignatureKeyV2", "signs/"+w.name, func(ctx context.Context) (err error) {
		k, err = h.o.Journal.CreateSignatureKey(ctx, k, maxKeys)
		return fromJournal(err, k.ID)
	})
	if err != nil {
		return answer{}, err
	}
	created := masked(k)
	created.Key, created.Secret = w.key, w.secret // this once
	return answer{http.StatusCreated, created}, nil
}

// update replaces a signature key. As the vendor has it, a key or secret that the body
// has not is generated. The mask, which lists show, leaves it as it is.
func (h *handler) update(ctx context.Context, c call) (answer, error) {
	asked, err := parseWish(c.body)
	if err != nil {
		return answer{}, err
	}
	if !isID(c.id) {
		return answer{}, noKey(c.id)
	}
	var k journal.SignatureKey
	var w wish
	err = h.change(ctx, c, "UpdateSignatureKeyV2", "signs/"+c.id, func(ctx context.Context) (err error) {
		k, err = h.o.Journal.UpdateSignatureKey(ctx, c.registry, c.id, func(k *journal.SignatureKey) error {
			w = asked
			if err := w.keep(h.o.Seal, k); err != nil {
				return err
			}
			return w.apply(h.o.Seal, k)
		})
		return fromJournal(err, c.id)
	})
	if err != nil {
		return answer{}, err
	}
	updated := masked(k)
	if asked.key != mask {
		updated.Key = w.key
	}
	if asked.secret != mask {
		updated.Secret = w.secret
	}
	return answer{http.StatusOK, updated}, nil
}

// keep puts what there is in place of masks, and fills the rest. A key of another type
// keeps nothing: the key of AES is a secret, and others are shown.
func (w *wish) keep(s *Seal, k *journal.SignatureKey) error {
	if k.Type == w.kind && (w.key == mask || w.secret == mask) {
		old, err := s.open(k)
		if err != nil {
			return err
		}
		if w.secret == mask {
			w.secret = old.Secret
		}
		if w.key == mask {
			if w.key = old.Key; k.Key != "" {
				w.key = k.Key
			}
		}
	}
	return w.fill()
}

func (h *handler) delete(ctx context.Context, c call) (answer, error) {
	if !isID(c.id) {
		return answer{}, noKey(c.id)
	}
	err := h.change(ctx, c, "DeleteSignatureKeyV2", "signs/"+c.id, func(ctx context.Context) error {
		return fromJournal(h.o.Journal.DeleteSignatureKey(ctx, c.registry, c.id), c.id)
	})
	return answer{status: http.StatusNoContent}, err
}

func (h *handler) list(ctx context.Context, c call) (answer, error) {
	f := filter{query: c.query}
	id, name, precise, part := f.text("id"), f.text("name"), f.text("precise_search"), f.page()
	if precise != "" && precise != "name" && f.wrong == nil {
		f.wrong = invalidQuery("precise_search", "allowed: name")
	}
	if f.wrong != nil {
		return answer{}, f.wrong
	}
	all, err := h.o.Journal.SignatureKeys(ctx, c.registry)
	if err != nil {
		return answer{}, err
	}
	var found []listedSign
	for _, k := range all {
		if (id == "" || k.ID == id) && matches(k.Name, name, precise != "") {
			found = append(found, listedSign{sign: masked(k), Bindings: k.Bindings})
		}
	}
	items, n := cut(part, found)
	return answer{http.StatusOK, struct {
		listing
		Signs []listedSign `json:"signs"`
	}{n, items}}, nil
}

// matches reports whether a name is what is searched for, or has it.
func matches(name, search string, precise bool) bool {
	if search == "" || name == search {
		return true
	}
	return !precise && strings.Contains(name, search)
}
