// Package engine is when and how: it fires policies on their triggers, carries
// out their executions, and takes each artifact along one path, in this order:
//
//	resolve → match → already signed? → journal → sign → attach → read back → record
//
// A fired policy is an execution; it has one task per repository and one
// subtask per artifact. The registry is the truth: whether an artifact is
// signed is decided by verifying what the registry holds with the policy's own
// key, before the key is used and again after the signature was stored.
package engine
