// Drives Tencent's own SDK for Node.js through the life of a signature policy, and
// prints what it saw as one JSON object.
"use strict";

const { tcr } = require("tencentcloud-sdk-nodejs/tencentcloud/services/tcr");

const { endpoint, id, secret, wrong, instance, key, domain } = JSON.parse(process.argv[2]);
const clientOf = (secretKey) =>
  new tcr.v20190924.Client({
    credential: { secretId: id, secretKey },
    region: "ap-guangzhou",
    profile: { httpProfile: { protocol: "http://", endpoint, reqTimeout: 60 } },
  });
const client = clientOf(secret);

// codeOf returns the code that a call is refused with.
async function codeOf(call) {
  try {
    await call;
    return "";
  } catch (e) {
    return `${e.code} ${e.requestId ? "with" : "without"} a request id`;
  }
}

async function main() {
  const namespace = { RegistryId: instance, NamespaceName: "library" };
  const policy = { ...namespace, Name: "library signing", KmsId: key, KmsRegion: "", Domain: domain, Disabled: false };
  const saw = {};
  saw.wrongSecret = await codeOf(clientOf(wrong).CreateSignaturePolicy(policy));
  saw.noKey = await codeOf(client.CreateSignaturePolicy({ ...policy, KmsId: "" }));
  saw.noNamespace = await codeOf(client.CreateSignaturePolicy({ ...policy, NamespaceName: "none" }));
  saw.created = (await client.CreateSignaturePolicy(policy)).RequestId;

  const instances = await client.DescribeInstances({ Registryids: [instance] });
  saw.instance = [instances.TotalCount, instances.Registries[0].RegistryType, instances.Registries[0].Status].join(" ");
  const namespaces = await client.DescribeNamespaces({ RegistryId: instance, All: true, KmsSignPolicy: true });
  const said = namespaces.NamespaceList[0];
  saw.namespaces = namespaces.TotalCount;
  saw.policy = JSON.parse(said.Metadata.find((m) => m.Key === "kms_sign").Value);

  const image = { ...namespace, RepositoryName: "app", ImageVersion: "v1" };
  await client.CreateSignature(image);
  for (let tries = 0; tries < 600 && !saw.signature; tries++) {
    const images = await client.DescribeImages({ ...image, ExactMatch: true, Limit: 20, Offset: 1 });
    saw.digest = images.ImageInfoList[0].Digest;
    saw.signature = images.ImageInfoList[0].KmsSignature;
    await new Promise((done) => setTimeout(done, 100));
  }

  await client.DeleteSignaturePolicy(namespace);
  await client.DeleteSignaturePolicy(namespace);
  saw.left = (await client.DescribeNamespaces({ RegistryId: instance, KmsSignPolicy: true })).TotalCount;
  console.log(JSON.stringify(saw));
}

main().catch((e) => {
  console.error(e);
  process.exit(1);
});
