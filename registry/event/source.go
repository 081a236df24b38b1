package event

import (
	"maps"
	"slices"
)

// A Source is a dialect in which events are sent.
type Source string

// The sources.
const (
	Distribution Source = "distribution" // notifications of CNCF distribution
	GitLab       Source = "gitlab"       // the same, of GitLab's registry
	Harbor       Source = "harbor"       // webhooks, payload Default or CloudEvents
	Zot          Source = "zot"          // CloudEvents over HTTP
	Quay         Source = "quay"         // webhook of "push to repository"
	ACR          Source = "acr"          // webhooks of Azure Container Registry
	GAR          Source = "gar"          // Pub/Sub push of topic gcr
	ECR          Source = "ecr"          // EventBridge, by API destination or SNS
	Artifactory  Source = "artifactory"  // webhooks of domain docker
	Nexus        Source = "nexus"        // repository webhooks
	SWR          Source = "swr"          // webhooks of SWR Enterprise, Harbor's payload
	TCR          Source = "tcr"          // webhooks of TCR Enterprise
	DockerHub    Source = "dockerhub"    // webhooks of Docker Hub
)

// A dialect is how a source proves who it is and what it says.
type dialect struct {
	// prover reports what is wrong with cfg for this source.
	prover func(cfg Config, fault func(string, ...any)) proof
	parse  parser
}

func (cfg Config) dialects() map[Source]dialect {
	return map[Source]dialect{
		Distribution: {secretProver, parseDistribution},
		GitLab:       {secretProver, parseDistribution},
		Harbor:       {secretProver, parseHarbor},
		SWR:          {secretProver, parseHarbor},
		TCR:          {secretProver, parseHarbor},
		Zot:          {secretProver, parseZot},
		Quay:         {secretProver, parseQuay},
		ACR:          {secretProver, parseACR},
		DockerHub:    {secretProver, parseDockerHub},
		GAR:          {garProver, parseGAR},
		ECR:          {ecrProver, parseECR},
		Artifactory:  {artifactoryProver, cfg.parseArtifactory},
		Nexus:        {nexusProver, cfg.parseNexus},
	}
}

func sources() []Source { return slices.Sorted(maps.Keys(Config{}.dialects())) }
