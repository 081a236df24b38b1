package swr

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	sdk "github.com/huaweicloud/huaweicloud-sdk-go-v3/services/swr/v2"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/services/swr/v2/model"

	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/registry"
	"github.com/sealwright/sealwright/registry/registrytest"
	"github.com/sealwright/sealwright/registry/signature"
)

// TestPolicy is the life of a policy, through Huawei's SDK.
func TestPolicy(t *testing.T) {
	h := open(t, controltest.Options{})
	c := h.admin(t)
	id := create(t, c, "library", "every-release_发布")
	show := &model.ShowInstanceSignPolicyRequest{InstanceId: controltest.Instance, NamespaceName: "library", PolicyId: id}
	shown := must[model.ShowInstanceSignPolicyResponse](t)(c.ShowInstanceSignPolicy(show))
	checkShown(t, shown, sent("every-release_发布"), id)

	scheduled := pointer(model.UpdateSignaturePolicyRequestBody{
		Name: "renamed", Enabled: false, SignatureKey: controltest.Key,
		SignatureMethod:    model.GetUpdateSignaturePolicyRequestBodySignatureMethodEnum().KMS,
		SignatureAlgorithm: model.GetUpdateSignaturePolicyRequestBodySignatureAlgorithmEnum().ECDSA_SHA_256,
		Trigger: &model.TriggerConfig{Type: model.GetTriggerConfigTypeEnum().SCHEDULED,
			TriggerSettings: &model.TriggerSetting{Cron: pointer("0 0 2 * * *")}},
		ScopeRules: []model.SignScopeRule{{
			TagSelectors:   []model.SignRuleSelector{{Kind: "doublestar", Decoration: "excludes", Pattern: "*-rc*", Extras: pointer(`{"untagged":true}`)}},
			ScopeSelectors: map[string][]model.SignRuleSelector{"repository": {{Kind: "doublestar", Decoration: "repoExcludes", Pattern: "test/**"}}},
			RepoScopeMode:  "regular",
		}},
	})
	updated := must[model.UpdateInstanceSignPolicyResponse](t)(c.UpdateInstanceSignPolicy(&model.UpdateInstanceSignPolicyRequest{
		InstanceId: controltest.Instance, NamespaceName: "library", PolicyId: id, Body: scheduled}))
	if updated.HttpStatusCode != http.StatusOK {
		t.Errorf("updated: %+v", updated)
	}
	again := must[model.ShowInstanceSignPolicyResponse](t)(c.ShowInstanceSignPolicy(show))
	if *again.Name != "renamed" || *again.Enabled || *again.Description != "" || *again.SignatureKey != controltest.Key ||
		*again.Trigger.TriggerSettings.Cron != "0 0 2 * * *" || *again.CreatedAt != *shown.CreatedAt || *again.Creator != "admin" {
		t.Errorf("updated: %+v", again)
	}
	if diff := cmp.Diff(scheduled.ScopeRules, *again.ScopeRules); diff != "" {
		t.Errorf("scope (-sent +shown):\n%s", diff)
	}
	stored, err := h.Engine.KnownPolicy(t.Context(), int64(id))
	if err != nil || !stored.Policy.Scope[0].Untagged || stored.Policy.Key != controltest.Key || stored.Origin != journal.FromSWR {
		t.Errorf("stored: %+v, %v", stored, err)
	}

	remove := &model.DeleteInstanceSignPolicyRequest{InstanceId: controltest.Instance, NamespaceName: "library", PolicyId: id}
	deleted := must[model.DeleteInstanceSignPolicyResponse](t)(c.DeleteInstanceSignPolicy(remove))
	if deleted.HttpStatusCode != http.StatusOK {
		t.Errorf("deleted: %+v", deleted)
	}
	_, err = c.ShowInstanceSignPolicy(show)
	wantRefusal(t, err, http.StatusNotFound, "SVCSTG.SWR.4040010")
}

func checkShown(t *testing.T, got *model.ShowInstanceSignPolicyResponse, want *model.CreateSignaturePolicyRequestBody, id int32) {
	t.Helper()
	if *got.Id != id || *got.Name != want.Name || *got.Description != *want.Description || *got.Enabled != want.Enabled ||
		*got.NamespaceName != "library" || *got.NamespaceId <= 0 || *got.Creator != "admin" ||
		*got.SignatureMethod != "KMS" || *got.SignatureAlgorithm != "ECDSA_SHA_256" || *got.SignatureKey != want.SignatureKey {
		t.Errorf("shown: %+v", got)
	}
	if diff := cmp.Diff(want.ScopeRules, *got.ScopeRules); diff != "" {
		t.Errorf("scope (-sent +shown):\n%s", diff)
	}
	if got.Trigger.Type.Value() != "manual" || got.Trigger.TriggerSettings != nil {
		t.Errorf("trigger: %+v", got.Trigger)
	}
	for _, at := range []*string{got.CreatedAt, got.UpdatedAt} {
		if _, err := time.Parse("2006-01-02T15:04:05.000Z", *at); err != nil {
			t.Error(err)
		}
	}
}

// TestSigns: a policy that the SDK makes leads to signatures in the registry, and
// the SDK tells of each of them.
func TestSigns(t *testing.T) {
	h := open(t, controltest.Options{})
	c := h.admin(t)
	web := h.Server.Push(t, "library/team/web:v1", registrytest.Image(t))
	h.Server.Push(t, "library/app:v1", registrytest.Image(t))
	h.Server.Push(t, "library/app:v2", registrytest.Image(t))
	h.Server.Push(t, "library/app:latest", registrytest.Image(t))
	outside := h.Server.Push(t, "elsewhere/app:v1", registrytest.Image(t))
	id := create(t, c, "library", "releases")
	if _, total := accessories(t, c, "team/web", web.String()); total != 0 {
		t.Errorf("%d accessories before anything was signed", total)
	}

	fired := must[model.ExecuteInstanceSignPolicyResponse](t)(c.ExecuteInstanceSignPolicy(&model.ExecuteInstanceSignPolicyRequest{
		InstanceId: controltest.Instance, NamespaceName: "library", PolicyId: id}))
	if x := h.Await(t, int64(*fired.Id)); x.Status != journal.Succeed || x.Counts.Succeed != 3 {
		t.Fatalf("execution: %+v", x)
	}
	executions := must[model.ListInstanceSignPolicyExecutionsResponse](t)(c.ListInstanceSignPolicyExecutions(
		&model.ListInstanceSignPolicyExecutionsRequest{InstanceId: controltest.Instance, NamespaceName: "library", PolicyId: id, Limit: pointer(int32(100))}))
	if len(*executions.Executions) != 1 || *executions.Total != 1 {
		t.Fatalf("executions: %+v", executions)
	}
	x := (*executions.Executions)[0]
	if x.Id != *fired.Id || x.PolicyId != id || x.Status != "Succeed" || x.Total != 3 || x.Succeed != 3 || x.Failed+x.InProgress+x.Stopped != 0 || x.Trigger != "manual" || x.CreatedAt == "" || x.UpdatedAt == "" {
		t.Errorf("execution: %+v", x)
	}
	checkTasks(t, c, id, x.Id)

	look, err := (&signature.Cosign{Store: registryOf(t, h)}).Look(t.Context(),
		signature.Subject{Repository: "library/team/web", Digest: web, Identity: h.Server.Host + "/library/team/web"}, h.Public[controltest.Key])
	if err != nil || !look.Signed {
		t.Errorf("the image is not signed: %+v, %v", look, err)
	}
	for _, reference := range []string{web.String(), "v1"} {
		list, total := accessories(t, c, "team/web", reference)
		if total != 1 || *list[0].Digest != look.Manifest.Digest.String() || *list[0].Size != int64(len(look.Manifest.Raw)) ||
			list[0].Type.Value() != "signature.cosign" || list[0].CreatedAt == nil || *list[0].SubjectArtifactId == *list[0].ArtifactId {
			t.Errorf("accessories of %s: %d, %+v", reference, total, list)
		}
	}
	if n := h.Server.Signatures(t, "elsewhere/app", outside); n != 0 {
		t.Errorf("an image of another namespace has %d signatures", n)
	}
}

func accessories(t *testing.T, c *sdk.SwrClient, repository, reference string) ([]model.Accessory, int32) {
	t.Helper()
	cosign := model.GetListInstanceAccessoriesRequestTypeEnum().SIGNATURE_COSIGN
	list := must[model.ListInstanceAccessoriesResponse](t)(c.ListInstanceAccessories(&model.ListInstanceAccessoriesRequest{
		InstanceId: controltest.Instance, NamespaceName: "library", RepositoryName: repository, Reference: reference, Type: &cosign}))
	return *list.Accessories, *list.Total
}

func checkTasks(t *testing.T, c *sdk.SwrClient, policy, execution int32) {
	t.Helper()
	tasks := must[model.ListInstanceSignPolicyExecTasksResponse](t)(c.ListInstanceSignPolicyExecTasks(
		&model.ListInstanceSignPolicyExecTasksRequest{InstanceId: controltest.Instance, NamespaceName: "library", PolicyId: policy, ExecutionId: execution}))
	subtasks := map[string]int{}
	for _, task := range *tasks.Tasks {
		if *task.ExecutionId != int64(execution) || *task.Namespace != "library" || *task.Status != "Succeed" || *task.JobId == "" {
			t.Errorf("task: %+v", task)
		}
		for status, want := range map[string]bool{"": true, "Succeed": true, "Failed": false} {
			request := &model.ListInstanceSignatureExecutionSubtasksRequest{InstanceId: controltest.Instance, NamespaceName: "library",
				PolicyId: policy, ExecutionId: execution, TaskId: int32(*task.Id)}
			if status != "" {
				request.Status = &status
			}
			found := must[model.ListInstanceSignatureExecutionSubtasksResponse](t)(c.ListInstanceSignatureExecutionSubtasks(request))
			if want != (*found.Total > 0) || int(*found.Total) != len(*found.SubTasks) {
				t.Errorf("%d subtasks with status %q: %+v", *found.Total, status, found)
			}
			if status != "" {
				continue
			}
			for _, s := range *found.SubTasks {
				subtasks[*s.Namespace+"/"+*s.Repository+":"+*s.Tags+" "+*s.Status+" "+*s.StatusText]++
			}
		}
	}
	want := map[string]int{"library/app:v1 Succeed signed": 1, "library/app:v2 Succeed signed": 1, "library/team/web:v1 Succeed signed": 1}
	if diff := cmp.Diff(want, subtasks); diff != "" || *tasks.Total != 2 {
		t.Errorf("%d tasks; subtasks (-want +got):\n%s", *tasks.Total, diff)
	}
}

func registryOf(t *testing.T, h *house) registry.Registry {
	t.Helper()
	r, ok := h.Engine.Registry(controltest.Registry)
	if !ok {
		t.Fatal("no registry")
	}
	return r
}
