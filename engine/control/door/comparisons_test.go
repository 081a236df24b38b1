package door

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// compared are the functions that compare a secret, or what was made with one, with
// what somebody sent, and how often each does.
var compared = map[string]map[string]int{
	"keyring.go":                             {"verifyHMAC": 1, "byToken": 1},
	"gate.go":                                {"SDKHMAC": 1},
	"tc3.go":                                 {"TC3": 1},
	"../apig/keys.go":                        {"authenticateBasic": 2},
	"../../../registry/event/secret.go":      {"carries": 4, "sameSecret": 1},
	"../../../registry/event/hmac.go":        {"hmacProver": 1},
	"../../../registry/event/googletoken.go": {"checkClaims": 1},
}

// ownSecrets are functions that compare our secrets with one another: nobody waits for
// the answer.
var ownSecrets = map[string]bool{"check": true, "shares": true, "add": true}

// TestComparisons: a secret, a MAC and a token are compared by crypto/subtle or
// hmac.Equal, in each of the places where that is done, and by nothing else in the
// packages that do it.
func TestComparisons(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{".", "../apig", "../../../registry/event"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatal(files, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			left := compared[filepath.ToSlash(file)]
			for _, d := range parsed.Decls {
				f, ok := d.(*ast.FuncDecl)
				if !ok || f.Body == nil {
					continue
				}
				constant, others := comparisons(f)
				if constant != left[f.Name.Name] {
					t.Errorf("%s: %s compares %d times in constant time, want %d", file, f.Name.Name, constant, left[f.Name.Name])
				}
				if len(others) > 0 && !ownSecrets[f.Name.Name] {
					t.Errorf("%s: %s compares by %s", file, f.Name.Name, others)
				}
				delete(left, f.Name.Name)
			}
			if len(left) > 0 {
				t.Errorf("%s: no function %v", file, left)
			}
			delete(compared, filepath.ToSlash(file))
		}
	}
	if len(compared) > 0 {
		t.Errorf("no files %v", compared)
	}
}

var (
	inConstantTime = map[string]bool{"hmac.Equal": true, "subtle.ConstantTimeCompare": true, "sameSecret": true}
	early          = map[string]bool{"bytes.Equal": true, "bytes.Compare": true, "slices.Equal": true, "slices.Compare": true, "strings.Compare": true,
		"strings.EqualFold": true, "reflect.DeepEqual": true, "bytes.EqualFold": true}
	// secret is what names of variables and fields that hold a secret look like.
	secret = regexp.MustCompile(`(?i)^(.*secret|.*signature|.*password|.*token(SHA256)?|.*mac|.*sum(s|256)?|sign|right)$`)
)

// comparisons returns how often a function compares in constant time, and by what else
// it compares that may end early.
func comparisons(f *ast.FuncDecl) (constant int, others []string) {
	ast.Inspect(f.Body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			name := nameOf(n.Fun)
			if inConstantTime[name] {
				constant++
			}
			if early[name] && !slices.ContainsFunc(n.Args, isLiteral) {
				others = append(others, name)
			}
		case *ast.BinaryExpr:
			if (n.Op == token.EQL || n.Op == token.NEQ) && holdsSecret(n.X) && holdsSecret(n.Y) {
				others = append(others, n.Op.String())
			}
		}
		return true
	})
	return constant, others
}

func isLiteral(e ast.Expr) bool { // the name of a scheme
	_, ok := e.(*ast.BasicLit)
	return ok
}

// nameOf returns PACKAGE.NAME or NAME of what is called; empty for what has another
// form.
func nameOf(called ast.Expr) string {
	if x, ok := called.(*ast.Ident); ok {
		return x.Name
	}
	if s, ok := called.(*ast.SelectorExpr); ok {
		if x, ok := s.X.(*ast.Ident); ok {
			return x.Name + "." + s.Sel.Name
		}
	}
	return ""
}

// holdsSecret reports whether the value of an expression is named as a secret.
func holdsSecret(e ast.Expr) (holds bool) {
	ast.Inspect(e, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if name, ok := n.Fun.(*ast.Ident); ok && name.Name == "len" {
				return false
			}
		case *ast.Ident:
			holds = holds || secret.MatchString(n.Name)
		}
		return true
	})
	return holds
}
