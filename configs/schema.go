package configs

import (
	_ "embed" // the schema
)

//go:generate go test . -run ^TestSchema$ -update

//go:embed sealwright.schema.json
var schema string

// Schema returns the JSON Schema (draft 2020-12) of a configuration file, for
// editors. It is generated from the types of this package. It knows less than
// Load: not, for instance, which registries are declared.
func Schema() []byte { return []byte(schema) }
