package registrytest

// Media types of what the suite writes.
const (
	mediaManifest   = "application/vnd.oci.image.manifest.v1+json"
	mediaIndex      = "application/vnd.oci.image.index.v1+json"
	mediaConfig     = "application/vnd.oci.image.config.v1+json"
	mediaLayer      = "application/vnd.oci.image.layer.v1.tar+gzip"
	mediaEmpty      = "application/vnd.oci.empty.v1+json"
	mediaDocker     = "application/vnd.docker.distribution.manifest.v2+json"
	mediaDockerList = "application/vnd.docker.distribution.manifest.list.v2+json"
	mediaDockerConf = "application/vnd.docker.container.image.v1+json"
	mediaDockerTar  = "application/vnd.docker.image.rootfs.diff.tar.gzip"
	mediaNotation   = "application/vnd.cncf.notary.signature"
	mediaBundle     = "application/vnd.dev.sigstore.bundle.v0.3+json"
	mediaCosign     = "application/vnd.dev.cosign.simplesigning.v1+json"
	mediaDSSE       = "application/vnd.dsse.envelope.v1+json"
	mediaSPDX       = "application/spdx+json"
)
