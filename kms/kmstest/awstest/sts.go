package awstest

import (
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// WebIdentityToken is what serveSTS takes for a role.
const WebIdentityToken = "a.workload.token"

// serveSTS is as much of STS as a pod with a role needs.
func (s *Server) serveSTS(w http.ResponseWriter, r *http.Request, body string) {
	if s.Intercepted("AssumeRoleWithWebIdentity", w, r) {
		return
	}
	form, err := url.ParseQuery(body)
	w.Header().Set("Content-Type", "text/xml")
	if err != nil || form.Get("Action") != "AssumeRoleWithWebIdentity" || form.Get("WebIdentityToken") != WebIdentityToken {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprint(w, `<ErrorResponse><Error><Type>Sender</Type><Code>InvalidIdentityToken</Code><Message>The token is not valid</Message></Error></ErrorResponse>`)
		return
	}
	id, key, token := s.session()
	_, _ = fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>
<AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken>%s</SessionToken><Expiration>%s</Expiration>
</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`,
		id, key, token, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
}
