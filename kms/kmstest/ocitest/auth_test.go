package ocitest

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"
	"time"
)

// The key, the requests and their signatures are those of the test of Oracle's
// own signer.
const vectorKey = `-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDCFENGw33yGihy92pDjZQhl0C3
6rPJj+CvfSC8+q28hxA161QFNUd13wuCTUcq0Qd2qsBe/2hFyc2DCJJg0h1L78+6
Z4UMR7EOcpfdUE9Hf3m/hs+FUR45uBJeDK1HSFHD8bHKD6kv8FPGfJTotc+2xjJw
oYi+1hqp1fIekaxsyQIDAQAB
-----END PUBLIC KEY-----`

const vectorBody = `{
    "compartmentId": "ocid1.compartment.oc1..aaaaaaaam3we6vgnherjq5q2idnccdflvjsnog7mlr6rtdb25gilchfeyjxa",
    "instanceId": "ocid1.instance.oc1.phx.abuw4ljrlsfiqw6vzzxb43vyypt4pkodawglp3wqxjqofakrwvou52gb6s5a",
    "volumeId": "ocid1.volume.oc1.phx.abyhqljrgvttnlx73nmrwfaux7kcvzfs3s66izvxf2h4lgvyndsdsnoiwr5q"
}`

const vectorKeyID = "ocid1.tenancy.oc1..aaaaaaaaba3pv6wkcr4jqae5f15p2b2m2yt2j6rx32uzr4h25vqstifsfdsq/" +
	"ocid1.user.oc1..aaaaaaaat5nvwcna5j6aqzjcaty5eqbb6qt2jvpkanghtgdaqedqw3rynjq/20:3b:97:13:55:1c:5b:0d:d3:37:d8:50:4e:c5:3a:34"

func vectorRequests(t *testing.T) (get, post *http.Request) {
	t.Helper()
	request := func(method, url, body, signed, signature string) *http.Request {
		r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Date", "Thu, 05 Jan 2014 21:31:40 GMT")
		r.Header.Set("Authorization", `Signature version="1",headers="`+signed+`",keyId="`+vectorKeyID+
			`",algorithm="rsa-sha256",signature="`+signature+`"`)
		return r
	}
	get = request(http.MethodGet, "https://iaas.us-phoenix-1.oraclecloud.com/20160918/instances?availabilityDomain=Pjwf%3A%20PHX-AD-1&"+
		"compartmentId=ocid1.compartment.oc1..aaaaaaaam3we6vgnherjq5q2idnccdflvjsnog7mlr6rtdb25gilchfeyjxa&displayName=TeamXInstances&"+
		"volumeId=ocid1.volume.oc1.phx.abyhqljrgvttnlx73nmrwfaux7kcvzfs3s66izvxf2h4lgvyndsdsnoiwr5q", "",
		"date (request-target) host",
		"GBas7grhyrhSKHP6AVIj/h5/Vp8bd/peM79H9Wv8kjoaCivujVXlpbKLjMPeDUhxkFIWtTtLBj3sUzaFj34XE6YZAHc9r2DmE4pMwOAy/kiITcZxa1oHPOeRheC0jP2dqbTll8fmTZVwKZOKHYPtrLJIJQHJjNvxFWeHQjMaR7M=")
	post = request(http.MethodPost, "https://iaas.us-phoenix-1.oraclecloud.com/20160918/volumeAttachments", vectorBody,
		"date (request-target) host content-length content-type x-content-sha256",
		"Mje8vIDPlwIHmD/cTDwRxE7HaAvBg16JnVcsuqaNRim23fFPgQfLoOOxae6WqKb1uPjYEl0qIdazWaBy/Ml8DRhqlocMwoSXv0fbukP8J5N80LCmzT/FFBvIvTB91XuXI3hYfP9Zt1l7S6ieVadHUfqBedWH0itrtPJBgKmrWso=")
	post.Header.Set("Content-Type", "application/json")
	post.Header.Set("X-Content-Sha256", "V9Z20UJTvkvpJ50flBzKE32+6m2zJjweHpDMX/U4Uy0=")
	return get, post
}

func check(t *testing.T, r *http.Request, body string, now time.Time) error {
	t.Helper()
	block, _ := pem.Decode([]byte(vectorKey))
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	a, err := parseAuthorization(r.Header.Get("Authorization"))
	if err != nil {
		t.Fatal(err)
	}
	if a.keyID != vectorKeyID {
		t.Errorf("key id %s", a.keyID)
	}
	return verify(r, []byte(body), a, public.(*rsa.PublicKey), true, now)
}

func TestVerifyVectors(t *testing.T) {
	now := time.Date(2014, 1, 5, 21, 32, 0, 0, time.UTC)
	get, post := vectorRequests(t)
	if err := check(t, get, "", now); err != nil {
		t.Errorf("GET: %v", err)
	}
	if err := check(t, post, vectorBody, now); err != nil {
		t.Errorf("POST: %v", err)
	}
}

func TestVerifyRefuses(t *testing.T) {
	now := time.Date(2014, 1, 5, 21, 32, 0, 0, time.UTC)
	tests := []struct {
		name   string
		change func(r *http.Request)
		body   string
		now    time.Time
	}{
		{"another body", func(*http.Request) {}, vectorBody + " ", now},
		{"another path", func(r *http.Request) { r.URL.Path = "/20160918/volumes" }, vectorBody, now},
		{"another host", func(r *http.Request) { r.Host = "example.com" }, vectorBody, now},
		{"another content type", func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, vectorBody, now},
		{"an old date", func(*http.Request) {}, vectorBody, now.Add(6 * time.Minute)},
		{"a future date", func(*http.Request) {}, vectorBody, now.Add(-6 * time.Minute)},
		{"headers left out", func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), " x-content-sha256", "", 1))
		}, vectorBody, now},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, post := vectorRequests(t)
			tt.change(post)
			if err := check(t, post, tt.body, tt.now); err == nil {
				t.Error("it was let in")
			}
		})
	}
}
