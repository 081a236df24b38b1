// Package apig speaks the signature-key API of Open Telekom Cloud's API Gateway
// ("API Gateway API Reference", Signature Key Management), which is that of Huawei
// Cloud APIG: credentials that authenticate HTTP requests between a gateway and what
// is behind it.
//
// What the vendor calls an API is here a place that Sealwright sends requests to, or
// receives them at: a sink or a source of events. New serves the management. Keys puts
// the bound keys to use, on outgoing and incoming requests. A Seal encrypts what is
// secret before it is stored.
package apig
