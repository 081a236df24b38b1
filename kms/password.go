package kms

import (
	"bytes"
	"fmt"
	"os"
)

// PasswordFile returns a [Config.Password] that reads the file at path whenever
// a key is opened, less one line end at its end. The file must be as closed to
// group and others as a private key: at most 0600, or 0440 if it is root's.
func PasswordFile(path string) func() ([]byte, error) {
	return func() ([]byte, error) {
		data, err := readSecret(path, maxPasswordFile)
		if err != nil {
			return nil, fmt.Errorf("reading the password: %w", err)
		}
		data = bytes.TrimSuffix(data, []byte("\n"))
		return bytes.TrimSuffix(data, []byte("\r")), nil
	}
}

// PasswordEnv returns a [Config.Password] that reads the environment variable
// name whenever a key is opened. The variable must be set and not empty: an
// empty one is a mistake more often than a password.
func PasswordEnv(name string) func() ([]byte, error) {
	return func() ([]byte, error) {
		value := os.Getenv(name)
		if value == "" {
			return nil, fmt.Errorf("environment variable %s is empty", name)
		}
		return []byte(value), nil
	}
}
