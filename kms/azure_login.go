package kms

import (
	"context"
	"net/url"
	"os"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// azureCredential finds credentials in the order of Microsoft's own default: a
// client's secret or certificate, a workload identity, a managed identity. The
// tools of developers, which that would run next, are not asked.
func azureCredential(options policy.ClientOptions) (azcore.TokenCredential, error) {
	private := azurePrivateAuthority(os.Getenv("AZURE_AUTHORITY_HOST"))
	switch {
	case os.Getenv("AZURE_CLIENT_SECRET") != "" || os.Getenv("AZURE_CLIENT_CERTIFICATE_PATH") != "":
		return azidentity.NewEnvironmentCredential(&azidentity.EnvironmentCredentialOptions{
			ClientOptions: options, DisableInstanceDiscovery: private,
		})
	case os.Getenv("AZURE_FEDERATED_TOKEN_FILE") != "":
		return azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
			ClientOptions: options, DisableInstanceDiscovery: private,
		})
	}
	managed := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: options}
	if id := os.Getenv("AZURE_CLIENT_ID"); id != "" {
		managed.ID = azidentity.ClientID(id)
	}
	return azidentity.NewManagedIdentityCredential(managed)
}

// azureCloud is the national cloud that a vault is in. The public one is the
// default and must not be named, or AZURE_AUTHORITY_HOST would not count.
func azureCloud(vault string) cloud.Configuration {
	switch {
	case os.Getenv("AZURE_AUTHORITY_HOST") != "":
	case strings.HasSuffix(vault, ".azure.cn"):
		return cloud.AzureChina
	case strings.HasSuffix(vault, ".usgovcloudapi.net"), strings.HasSuffix(vault, ".azure.us"):
		return cloud.AzureGovernment
	}
	return cloud.Configuration{}
}

// azurePrivateAuthority reports whether the authority is one that Microsoft's
// public directory of authorities cannot vouch for.
func azurePrivateAuthority(authority string) bool {
	at, err := url.Parse(authority)
	if err != nil || authority == "" {
		return false // the library says what is wrong
	}
	switch at.Hostname() {
	case "login.microsoftonline.com", "login.microsoftonline.us", "login.chinacloudapi.cn", "login.partner.microsoftonline.cn":
		return false
	}
	return true
}

// azureLogin makes the errors of a credential StoreErrors, which the library
// around it would make indistinguishable from others.
type azureLogin struct{ inner azcore.TokenCredential }

// GetToken implements azcore.TokenCredential.
func (l azureLogin) GetToken(ctx context.Context, options policy.TokenRequestOptions) (azcore.AccessToken, error) {
	token, err := l.inner.GetToken(ctx, options)
	if err != nil {
		return azcore.AccessToken{}, azureLoginError(err)
	}
	return token, nil
}
