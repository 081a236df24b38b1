// Package door answers one question: who sent this HTTP request?
//
// It knows five ways to prove it, one method of Door each:
//
//   - TC3: TC3-HMAC-SHA256 of Tencent Cloud API 3.0 ("Signature Method v3").
//   - SDKHMAC: SDK-HMAC-SHA256 of Huawei Cloud ("API Request Signing Guide",
//     Access=) and of Open Telekom Cloud, as its Go SDK gophertelekomcloud makes it
//     (Credential=…/sdk_request).
//   - OCI: the request signatures of Oracle Cloud Infrastructure, version 1 ("Request
//     Signatures", after draft-cavage-http-signatures-08).
//   - Token: X-Auth-Token of Huawei and Open Telekom Cloud, or Authorization: Bearer.
//   - Certificate: a TLS client certificate, known by itself and not by its issuer.
//
// Own is the one of Token, SDKHMAC and Certificate that a request shows: the ways of
// our own API.
//
// A method returns the caller, and the body that it read to verify it, or one of the
// errors in errors.go, which a dialect maps to its vendor's codes. It decides nothing
// about what the caller may do.
//
// # What a signature covers
//
// What the vendors' schemes leave unsigned stays unsigned here. Tencent's SDK signs
// neither X-TC-Action nor a body that it calls UNSIGNED-PAYLOAD; Huawei's SDK signs
// no Host, and treats /a and /a/ alike; Open Telekom Cloud's adds X-Project-Id after
// signing. TLS protects those. What a scheme leaves open without need is refused: a
// query beside a TC3 POST, a repeated query name of the scoped form, a body beside
// an OCI signature that does not cover it, a header that is signed and sent twice.
//
// An escaped slash in a path (%2F) is not a slash: SDK-HMAC-SHA256 is computed for
// each segment. A client that decodes the path first gets ErrSignature.
//
// # Replays
//
// A request that may change something is taken once: its signature is remembered
// until its time leaves the window. That is every method but GET and HEAD. With TC3,
// where a POST may be a read and the action is not signed, it is every action that
// does not begin with Describe. A read of TC3 may be repeated, but its signature is
// remembered too, so that it never passes for a change. Dialects must see to it that
// Describe actions change nothing.
//
// Signatures have a resolution of one second. Who sends the very same change twice in
// one second has the second refused as a replay. SDKs sign again when they try again,
// except Tencent's: after RequestLimitExceeded or a lost connection it sends the same
// signature, if it was told to try again at all. So a dialect that limits rates does
// so in [Config.Admit], before a request is remembered; one of which nothing was begun is
// forgotten ([Caller.Forget]); and a change whose answer was lost is not made twice. With
// what a [ReplayedError] says, a dialect may look whether what is asked for again is so
// already.
//
// The memory of each access key and OCI key id is bounded, and only requests whose
// signature is right get into it. Full of signatures that could still be replayed, it
// takes nothing more of that key that has to be remembered (ErrBusy), and nobody else
// notices. It is this process's alone: a restart, or another replica, knows nothing of
// it. Tokens can be replayed, as they can anywhere.
//
// # Names cannot be probed by time
//
// An unknown access key or key id costs the work of a wrong signature: it is verified
// too, with a secret that nobody has. ErrUnknown and ErrSignature differ, because
// vendors have codes for both; a dialect that wants to hide names answers both alike.
package door
