package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	apigsdk "github.com/huaweicloud/huaweicloud-sdk-go-v3/services/apig/v2"
	apigmodel "github.com/huaweicloud/huaweicloud-sdk-go-v3/services/apig/v2/model"
	swrsdk "github.com/huaweicloud/huaweicloud-sdk-go-v3/services/swr/v2"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/services/swr/v2/model"
	"github.com/oracle/oci-go-sdk/v65/artifacts"
	"github.com/oracle/oci-go-sdk/v65/common"

	"github.com/sealwright/sealwright/engine/control"
	"github.com/sealwright/sealwright/engine/control/apig"
	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// tcrNamespace is one that has a policy of TCR's in other tests.
const tcrNamespace = "tencent"

// signedNamespace is where TCR signs tags by hand.
const signedNamespace = "byhand"

// byHand is its policy there.
const byHand = "by hand"

// A killed is an apiHouse whose daemon is killed while it is changed.
type killed struct {
	*apiHouse
	swr    *swrsdk.SwrClient
	apig   *apigsdk.ApigClient
	tcr    controltest.TCR
	oracle artifacts.ArtifactsClient
	image  artifacts.ContainerImage
	list   []*changer
	tags   map[string]v1.Hash // that TCR signs by hand

	mu    sync.Mutex
	ids   map[string]string // what an API calls an object
	fired map[string]int64  // executions that were answered
}

// newKilled pushes what is signed, and adds two sinks for each round to bind keys to and
// the policies that are fired by the control socket.
func newKilled(t *testing.T, a *apiHouse) *killed {
	k := &killed{apiHouse: a, swr: a.SWR(t, vendorKey, vendorSecret), apig: a.APIG(t, vendorKey, vendorSecret), tcr: a.TCR(vendorKey, vendorSecret),
		oracle: a.Oracle(t, a.oracle), tags: map[string]v1.Hash{}, ids: map[string]string{}, fired: map[string]int64{}}
	never := common.NoRetryPolicy()
	k.oracle.Configuration.RetryPolicy, k.oracle.Configuration.CircuitBreaker = &never, nil
	a.registry.Push(t, "library/app:v1", registrytest.Image(t))
	var sinks, policies strings.Builder
	for round := range killRounds {
		for n := range most {
			tag := fmt.Sprintf("tcrsign_%d_%d", round, n)
			k.tags[tag] = a.registry.Push(t, signedNamespace+"/app:"+tag, registrytest.Image(t))
			fmt.Fprintf(&policies, "\n  - {name: socketfire_%d_%d, registry: test, namespace: library, key: release, trigger: {type: manual}, scope: [{repositories: \"**\", tags: \"**\"}]}", round, n)
		}
		for n := range most / 3 {
			a.registry.Push(t, fmt.Sprintf("tcr_%d_%d/app:v1", round, n), registrytest.Image(t))
		}
		for _, name := range boundTo(fmt.Sprintf("apig_%d", round)) {
			fmt.Fprintf(&sinks, "{name: %s, kind: webhook, url: %q}, ", strings.TrimPrefix(name, sinkAPI), "http://"+freeAddress(t))
		}
	}
	a.replace("sinks: [", "sinks: ["+sinks.String())
	a.replace("policies:", "policies:"+policies.String())
	return k
}

// prepare is done once, by a daemon that is not killed meanwhile.
func (k *killed) prepare(t *testing.T) {
	t.Helper()
	k.image = k.lookup(t, k.oracle, "library/app:v1")
	if err := k.tcrPolicy(signedNamespace, byHand); err != nil {
		t.Fatal(err)
	}
}

func (k *killed) changer(name string) *changer {
	i := slices.IndexFunc(k.list, func(c *changer) bool { return c.name == name })
	if i < 0 {
		return nil
	}
	return k.list[i]
}

// ofChanger is the name of the changer whose object is called so.
func ofChanger(object string) string {
	name, _, _ := strings.Cut(object, "_")
	return name
}

// called remembers what an API calls an object, and id tells.
func (k *killed) called(object, id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ids[object] = id
}

func (k *killed) id(object string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ids[object]
}

// was remembers an execution that was answered.
func (k *killed) was(object string, execution int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fired[object] = execution
}

// changers change everything that the APIs and the control socket change, with the
// vendors' SDKs and our own client.
func (k *killed) changers(t *testing.T) []*changer {
	tcrAs := func(name string) step {
		return step{func(ns string) error { return k.tcrPolicy(ns, name) }, name}
	}
	k.list = []*changer{
		{name: "swr", api: "swr", steps: []step{{k.swrCreate, "enabled"}, {k.swrUpdate, "disabled"}, {k.swrDelete, gone}}},
		{name: "swrfire", api: "swr", steps: []step{{k.swrCreate, "enabled"}, {k.swrFire, "enabled"}}},
		{name: "swrspace", api: "swr", steps: []step{{k.swrCreateNamespace, gone}, {k.swrDeleteNamespace, gone}}},
		{name: "tcr", api: "tcr", steps: []step{tcrAs("first name"), tcrAs("second name"), {k.tcrDelete, gone}}},
		{name: "tcrsign", api: "tcr", steps: []step{{k.tcrSign, "signed"}}},
		{name: "oci", api: "oci", steps: []step{{func(object string) error { _, err := k.upload(t, k.oracle, k.image, object); return err }, "1"}}},
		{name: "ocilife", api: "oci", steps: []step{{func(object string) error { return k.ociCreate(t, object) }, "1"}, {k.ociUpdate(t), "2"}, {k.ociDelete(t), gone}}},
		{name: "apig", api: "apig", steps: []step{{k.apigCreate, "first-key"}, {k.apigBind, "first-key, 2 bound"}, {k.apigUpdate, "second-key, 2 bound"},
			{k.apigUnbind, "second-key, 1 bound"}, {k.apigBindAgain, "second-key, 2 bound"}, {k.apigDelete, gone}}},
		{name: "own", api: "api", steps: []step{{k.ownPut(http.MethodPost, "/policies", "a"), "a enabled"}, {k.ownPut(http.MethodPut, "/policies/", "b"), "b enabled"},
			{k.ownAsk(http.MethodPost, "/disable"), "b disabled"}, {k.ownAsk(http.MethodPost, "/enable"), "b enabled"}, {k.ownAsk(http.MethodDelete, ""), gone}}},
		{name: "ownfire", api: "api", steps: []step{{k.ownPut(http.MethodPost, "/policies", "library"), "library enabled"}, {k.ownAsk(http.MethodPost, "/fire"), "library enabled"}}},
		{name: "socketfire", api: "socket", steps: []step{{k.socketFire(t), "fired"}}},
	}
	for _, c := range k.list {
		c.is, c.may = map[string]string{}, map[string]string{}
		c.answered, c.cut = make([]int, len(c.steps)), make([]int, len(c.steps))
	}
	return k.list
}

func (k *killed) swrCreate(object string) error {
	made, err := k.swr.CreateInstanceSignPolicy(&model.CreateInstanceSignPolicyRequest{InstanceId: swrInstance, NamespaceName: "library", Body: controltest.SWRPolicy(object, "release")})
	if err == nil {
		k.called(object, fmt.Sprint(*made.Id))
	}
	return err
}

func (k *killed) swrID(object string) (id int32) {
	_, _ = fmt.Sscan(k.id(object), &id) // it was printed
	return id
}

func (k *killed) swrUpdate(object string) error {
	p := controltest.SWRPolicy(object, "release")
	_, err := k.swr.UpdateInstanceSignPolicy(&model.UpdateInstanceSignPolicyRequest{InstanceId: swrInstance, NamespaceName: "library", PolicyId: k.swrID(object),
		Body: &model.UpdateSignaturePolicyRequestBody{Name: object, SignatureKey: p.SignatureKey, Trigger: p.Trigger, ScopeRules: p.ScopeRules,
			SignatureMethod:    model.GetUpdateSignaturePolicyRequestBodySignatureMethodEnum().KMS,
			SignatureAlgorithm: model.GetUpdateSignaturePolicyRequestBodySignatureAlgorithmEnum().ECDSA_SHA_256}})
	return err
}

func (k *killed) swrDelete(object string) error {
	_, err := k.swr.DeleteInstanceSignPolicy(&model.DeleteInstanceSignPolicyRequest{InstanceId: swrInstance, NamespaceName: "library", PolicyId: k.swrID(object)})
	return err
}

func (k *killed) swrFire(object string) error {
	fired, err := k.swr.ExecuteInstanceSignPolicy(&model.ExecuteInstanceSignPolicyRequest{InstanceId: swrInstance, NamespaceName: "library", PolicyId: k.swrID(object)})
	if err == nil {
		k.was(object, int64(*fired.Id))
	}
	return err
}

// swrCreateNamespace makes nothing that lasts: a namespace is there once something is in it.
func (k *killed) swrCreateNamespace(object string) error {
	_, err := k.swr.CreateInstanceNamespace(&model.CreateInstanceNamespaceRequest{InstanceId: swrInstance,
		Body: &model.CreateInstanceNamespaceRequestBody{NamespaceName: object, Metadata: &model.NamespaceMetadata{Public: model.GetNamespaceMetadataPublicEnum().FALSE}}})
	return err
}

func (k *killed) swrDeleteNamespace(object string) error {
	_, err := k.swr.DeleteInstanceNamespace(&model.DeleteInstanceNamespaceRequest{InstanceId: swrInstance, NamespaceName: object})
	return err
}

func (k *killed) tcrPolicy(namespace, name string) error {
	return k.tcr.Call("CreateSignaturePolicy", map[string]any{"RegistryId": tcrInstance, "Name": name, "NamespaceName": namespace,
		"KmsId": "4c5cc6ea-8aa9-49f3-8a0f-1b1f0d0a9c11", "KmsRegion": ""}, nil)
}

func (k *killed) tcrDelete(namespace string) error {
	return k.tcr.Call("DeleteSignaturePolicy", map[string]any{"RegistryId": tcrInstance, "NamespaceName": namespace}, nil)
}

// tcrSign has the tag signed that is called as the object.
func (k *killed) tcrSign(object string) error {
	return k.tcr.Call("CreateSignature", map[string]any{"RegistryId": tcrInstance, "NamespaceName": signedNamespace, "RepositoryName": "app", "ImageVersion": object}, nil)
}

func (k *killed) ociCreate(t *testing.T, object string) error {
	d := k.details(t, k.image)
	d.FreeformTags = ociTags(object, "1")
	made, err := k.oracle.CreateContainerImageSignature(t.Context(), artifacts.CreateContainerImageSignatureRequest{CreateContainerImageSignatureDetails: d})
	if err == nil {
		k.called(object, *made.Id)
	}
	return err
}

func ociTags(object, state string) map[string]string {
	return map[string]string{"object": object, "state": state}
}

func (k *killed) ociUpdate(t *testing.T) func(string) error {
	return func(object string) error {
		_, err := k.oracle.UpdateContainerImageSignature(t.Context(), artifacts.UpdateContainerImageSignatureRequest{ImageSignatureId: pointer(k.id(object)),
			UpdateContainerImageSignatureDetails: artifacts.UpdateContainerImageSignatureDetails{FreeformTags: ociTags(object, "2")}})
		return err
	}
}

func (k *killed) ociDelete(t *testing.T) func(string) error {
	return func(object string) error {
		_, err := k.oracle.DeleteContainerImageSignature(t.Context(), artifacts.DeleteContainerImageSignatureRequest{ImageSignatureId: pointer(k.id(object))})
		return err
	}
}

// boundTo are the two APIs that the signature keys of a round are bound to, one key
// after the other: a binding that outlived its key would keep the next one from it.
func boundTo(object string) []string {
	round := strings.Split(object, "_")[1]
	return []string{sinkAPI + "round-" + round + "-a", sinkAPI + "round-" + round + "-b"}
}

func (k *killed) apigCreate(object string) error {
	made, err := k.apig.CreateSignatureKeyV2(&apigmodel.CreateSignatureKeyV2Request{InstanceId: apig.Everywhere,
		Body: &apigmodel.BaseSignature{Name: object, SignKey: pointer("first-key"), SignSecret: pointer("hook-secret-0123456789")}})
	if err == nil {
		k.called(object, *made.Id)
	}
	return err
}

func (k *killed) apigUpdate(object string) error {
	_, err := k.apig.UpdateSignatureKeyV2(&apigmodel.UpdateSignatureKeyV2Request{InstanceId: apig.Everywhere, SignId: k.id(object),
		Body: &apigmodel.BaseSignature{Name: object, SignKey: pointer("second-key"), SignSecret: pointer("hook-secret-9876543210")}})
	return err
}

func (k *killed) apigDelete(object string) error {
	_, err := k.apig.DeleteSignatureKeyV2(&apigmodel.DeleteSignatureKeyV2Request{InstanceId: apig.Everywhere, SignId: k.id(object)})
	return err
}

func (k *killed) apigBind(object string) error { return k.apigBindTo(object, boundTo(object)) }

// apigBindAgain binds to the one that was unbound.
func (k *killed) apigBindAgain(object string) error {
	return k.apigBindTo(object, boundTo(object)[1:])
}

// apigBindTo remembers the binding to the last of them.
func (k *killed) apigBindTo(object string, apis []string) error {
	bound, err := k.apig.AssociateSignatureKeyV2(&apigmodel.AssociateSignatureKeyV2Request{InstanceId: apig.Everywhere,
		Body: &apigmodel.SignApiBinding{SignId: k.id(object), PublishIds: apis}})
	if err == nil {
		k.called(object+" bound", *(*bound.Bindings)[len(apis)-1].Id)
	}
	return err
}

func (k *killed) apigUnbind(object string) error {
	_, err := k.apig.DisassociateSignatureKeyV2(&apigmodel.DisassociateSignatureKeyV2Request{InstanceId: apig.Everywhere, SignBindingsId: k.id(object + " bound")})
	return err
}

// ownPut creates or replaces a policy that covers a namespace.
func (k *killed) ownPut(method, path, namespace string) func(string) error {
	all := policy.Selector{Matches: []string{"**"}}
	return func(object string) error {
		p := policy.Policy{Name: object, Registry: "test", Key: "release", Namespace: namespace, Trigger: policy.Trigger{Type: policy.Manual},
			Scope: []policy.ScopeRule{{Repositories: all, Tags: all}}}
		at := path
		if method == http.MethodPut {
			at += object
		}
		return k.tryOwn(method, at, p)
	}
}

// ownAsk asks for something that needs no body.
func (k *killed) ownAsk(method, what string) func(string) error {
	return func(object string) error {
		if what != "/fire" {
			return k.tryOwn(method, "/policies/"+object+what, nil)
		}
		var x struct{ ID int64 }
		err := k.askOwn(method, "/policies/"+object+what, nil, &x)
		if err == nil {
			k.was(object, x.ID)
		}
		return err
	}
}

// socketFire fires by the control socket, each time on a connection of its own: none is
// left of a daemon that was killed.
func (k *killed) socketFire(t *testing.T) func(string) error {
	return func(object string) error {
		x, err := control.Dial(socketPath(k.path("state"))).Fire(t.Context(), object)
		if err == nil {
			k.was(object, x.ID)
		}
		return err
	}
}
