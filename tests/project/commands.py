"""Commands that the docs show: scripts in which they are typed, and those that no test types.

A script begins in a folder with a copy of ``examples/`` and further graphs, on a machine without an
engine; ``tests/e2e/test_snippets.py`` types it. A step is a command of the docs, or one of the
``Own`` that lead to the next one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from anabranch.reference.commands import all_commands, example
from tests.project.snippets import snippets
from tests.project.tutorials import Command, steps

REGISTRY = "installs from a registry"
MEASURES = "measures for minutes"
MACHINES = "needs several machines: test_cluster_nodes.py has them"
NOT_TYPED: Mapping[str, str] = {
    "README.md:": "test_readme.py runs the README from top to bottom",
    "install.md: pip install anabranch": REGISTRY,
    "install.md: pip install --no-deps anabranch": REGISTRY,
    "protocol.md: python -m venv client": REGISTRY,
    "seldon.md: python -m venv client": REGISTRY,
    "components.md: echo 'fastapi>=0.133'": REGISTRY,
    "CONTRIBUTING.md: make setup": "would run all the tests",
    "install.md: make demo": "test_demo.py runs the demo; `make test` would run all the tests",
    "install.md: docker compose up --build --detach --wait": "needs Docker",
    "clusters.md: anabranch up --host": MACHINES,
    "clusters.md: anabranch nodes drain": MACHINES,
    "clusters.md: export ANABRANCH_STORE": "needs PostgreSQL; test_cluster_standby.py has it",
    "clusters.md: anabranch up --address": "needs a Ray; test_cluster_attached.py has one",
    "clusters.md: anabranch logs digits": "needs machines; test_cluster_ingress.py has them",
    "bundles.md: anabranch push": "needs a registry; test_portable.py has one",
    "registry.md: export MLFLOW_TRACKING_URI": "needs a registry; test_watch.py has one",
    "registry.md: anabranch status fruit": "needs a registry; test_watch.py has one",
    "batch.md: export ANABRANCH_JOBS": "needs files in /srv; test_jobs.py has such an engine",
    "tls.md: export RAY_USE_TLS": "needs files in /etc; test_ray_tls.py has such an engine",
    "memory.md: nvidia-smi": "needs a GPU; test_memory_budgets.py has devices by such names",
    "standalone.md: podman load": "needs Podman and a registry",
    "standalone.md: skopeo copy": REGISTRY,
    "benchmarks.md: make bench": MEASURES,
    "benchmarks.md: .venv/bin/python -m benchmarks --only": MEASURES,
    "benchmarks.md: .venv/bin/python -m benchmarks.batching": MEASURES,
    "benchmarks.md: .venv/bin/python -m benchmarks.payloads": MEASURES,
    "benchmarks.md: .venv/bin/python -m benchmarks.telemetry": MEASURES,
    "benchmarks.md: .venv/bin/python -m benchmarks.sinks": MEASURES,
    "benchmarks.md: .venv/bin/python -m benchmarks.disturbances": MEASURES,
    "benchmarks.md: .venv/bin/python -m benchmarks.deaths": MEASURES,
}
"""The reason by the beginning of a block's name."""


OF_REGISTRIES = ("anabranch push", "anabranch pull")
"""Commands whose examples need a registry of that name; test_portable.py has one."""
OF_MACHINES = ("anabranch join", "anabranch leave", "anabranch nodes drain")
"""Commands whose examples need several machines, likewise."""
OF_JOBS = ("anabranch job status", "anabranch job cancel")
"""Commands whose examples name a job, whose id the engine draws; test_jobs.py types them."""


def reason(name: str) -> str | None:
    """Return why a block is not typed; None if it is."""
    return next((why for begin, why in NOT_TYPED.items() if name.startswith(begin)), None)


def documented() -> dict[str, Command]:
    """Return the commands that are to be typed, by their text."""
    return {one.text: one for one in _documented()}


def _documented() -> Iterator[Command]:
    for block in snippets("sh", "console"):
        if reason(block.name) is None:
            for step in steps(f"```{block.kind}\n{block.text}```\n"):
                assert isinstance(step, Command)
                yield Command(_plain(step.text), step.printed or None)
    for name, command in all_commands():
        if name not in (*OF_MACHINES, *OF_REGISTRIES, *OF_JOBS):
            yield Command(example(command))


def _plain(text: str) -> str:
    """Return a command without a comment behind it, its spaces as one."""
    return " ".join(text.partition("  #")[0].split())


@dataclass(frozen=True)
class Own:
    """A command that no page shows."""

    text: str


NEW = Own("echo '# changed' >> components.py")
PIXELS = Own("python -c \"import numpy; numpy.save('digit.npy', numpy.ones((1, 64), 'f4'))\"")


def asked(graph: str, id: str, inputs: str) -> Own:
    """Send a request with an id of its own."""
    body = f'{{"id": "{id}", "inputs": [{inputs}]}}'
    return Own(f"curl --fail localhost:8000/v2/models/{graph}/infer -d '{body}'")


X = '{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}'
TEXT = '{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["hello"]}'
DIGIT = '{"name": "pixels", "datatype": "FP32", "shape": [1, 64], "data": [' + "1," * 63 + "1]}"
RANKED = (
    '{"name": "basket", "datatype": "FP32", "shape": [1, 16], "data": [' + "1," * 15 + "1]}, "
    '{"name": "user", "datatype": "BYTES", "shape": [1], "data": ["ada"]}'
)
REQUEST = Own(f"echo '{{\"inputs\": [{X}, {TEXT}]}}' > request.json")
CI_DEPLOYS = Own("echo '  - {key: ci, role: deployer, graphs: [shop]}' >> policy.yaml")
JWT = Own("""python - > token <<END
import json, time
import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
key = generate_private_key(SECP256R1())
public = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
with open("keys.json", "w") as file:
    json.dump({"keys": [public]}, file)
url = "https://login.example.com"
claims = {"iss": url, "aud": "anabranch", "sub": "ada", "exp": time.time() + 3600}
print(jwt.encode(claims, key, "ES256"))
END""")
ISSUER = Own("""cat > policy.yaml <<END
anonymous: []
issuers:
  - {issuer: "https://login.example.com", audience: anabranch, jwks: $PWD/keys.json}
rules:
  - {subject: ada, role: invoker, graphs: [shop]}
END""")
ORDERS = Own("""python - <<END
import pyarrow as pa, pyarrow.parquet as pq
columns = {"order": [7, 8], "price": [1.5, 2.0], "weight": [3.0, 4.0], "text": ["a", "b"]}
pq.write_table(pa.table(columns), "orders.parquet")
END""")
SELDON = Own("""cat > seldon.yaml <<END
apiVersion: machinelearning.seldon.io/v1
kind: SeldonDeployment
metadata: {name: simple}
spec: {predictors: [{name: one, graph: {name: model, implementation: SIMPLE_MODEL}}]}
END""")
KSERVE = Own("""cat > kserve.yaml <<END
apiVersion: serving.kserve.io/v1alpha1
kind: InferenceGraph
metadata: {name: loans}
spec: {nodes: {root: {routerType: Sequence, steps: [{serviceUrl: "http://features/v1"}]}}}
END""")
TRITON = Own("""mkdir -p models/net/1 && cat > models/net/config.pbtxt <<END
name: "net" backend: "python" max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: [ 2 ] }
output { name: "y" data_type: TYPE_FP32 dims: [ 2 ] }
END""")
FEATURES = Own("""python - <<END
import sqlite3
database = sqlite3.connect("features.db")
database.execute("CREATE TABLE users (user_id INTEGER, age INTEGER, updated_at TIMESTAMP)")
database.execute("INSERT INTO users VALUES (7, 30, '2026-01-01 00:00:00')")
database.commit()
END
cat > graph.yaml <<END
apiVersion: anabranch/v1
kind: InferenceGraph
metadata: {name: shop}
spec:
  inputs: {user_id: {datatype: INT64, shape: [-1]}}
  nodes:
    profile:
      type: transformer
      method: lookup
      args: {store: "sqlite:///$PWD/features.db", table: users, timestamp: updated_at,
             features: {age: age}, defaults: {age: 0}}
      inputs: {user_id: user_id}
      outputs: {age: {datatype: INT64, shape: [-1]}}
  outputs: {age: profile}
  telemetry: {requests: {nodes: [profile]}}
END""")
USER = '{"name": "user_id", "datatype": "INT64", "shape": [2], "data": [7, 8]}'
UP, DOWN = "anabranch up", "anabranch down"


def certificate(name: str, file: str) -> Own:
    """Make a certificate that is its own authority."""
    return Own(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 "
        f"-subj /CN={name} -addext subjectAltName=DNS:{name} -keyout {file}.key -out {file}.pem"
    )


PHOTOS = Own(
    "python -c \"from PIL import Image; image = Image.new('RGB', (8, 4)); "
    "image.save('cat.png'); image.save('dog.jpg')\""
)
PREDICT = "curl localhost:8000/v2/models/quickstart/predict"
V1 = "curl localhost:8000/v1/models/quickstart"

SCRIPTS: Mapping[str, tuple[str | Own, ...]] = {
    "features": (
        UP,
        FEATURES,
        Own("anabranch deploy graph.yaml"),
        asked("shop", "one", USER),
        Own("until grep -q one ~/.anabranch/requests/shop/*; do sleep 0.1; done"),
        Own("mkdir logs && cp -r ~/.anabranch/requests/shop logs/shop"),
        "anabranch features export graph.yaml --from logs/shop -o train.parquet",
        "anabranch features check graph.yaml --from logs/shop --since 1d",
        DOWN,
    ),
    "quickstart": (
        UP,
        "anabranch deploy examples/quickstart/graph.yaml",
        "anabranch infer quickstart --data '{\"fruit\": [[0.9, 0.2]]}'",
        Own("anabranch status"),
        'curl -i localhost:8000/v2/models/quickstart/infer -H "Prefer: respond-async" --json '
        '\'{"inputs": [{"name": "fruit", '
        '"datatype": "FP32", "shape": [1, 2], "data": [0.9, 0.2]}]}\'',
        "anabranch infer quickstart --data '{\"fruit\": [[0.9, 0.2]]}' --async",
        Own(
            'curl localhost:8000/v2/models/quickstart/infer --json \'{"inputs": [{"name": "fruit", '
            '"datatype": "FP32", "shape": [1, 2], "data": [0.9, 0.2]}]}\''
        ),
        Own("echo '# sharper' >> examples/quickstart/components.py"),
        Own('anabranch deploy examples/quickstart/graph.yaml --canary 5 --message "sharper"'),
        Own("anabranch status quickstart --watch"),
        Own("anabranch promote quickstart"),
        Own("anabranch rollback quickstart"),
        "export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=~/.anabranch/ray-token",
        "export RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0",
        "ray status",
        "anabranch dashboard",
        "anabranch dashboard --print",
        "anabranch doctor",
        "anabranch nodes",
        "anabranch backup home.zip",
        DOWN,
        "anabranch restore home.zip --replace",
        "export OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318",
        "export ANABRANCH_TRACE_RATIO=0.01",
        UP,
        DOWN,
        "anabranch up --foreground",
    ),
    "seldon": (
        UP,
        Own("anabranch deploy door.yaml"),
        "curl localhost:8000/seldon/default/quickstart/api/v1.0/predictions --json "
        '\'{"data": {"ndarray": [[0.9, 0.2]]}}\'',
        Own("anabranch deploy doors.yaml"),
        PREDICT + """ -d '{"fruit": [0.9, 0.2]}'""",
        PREDICT + """ -d '{"rows": [{"fruit": [0.9, 0.2]}, {"fruit": [0.1, 0.8]}]}'""",
        PREDICT + """ -d '{"columns": {"fruit": [[0.9, 0.2], [0.1, 0.8]]}}'""",
        PREDICT + " -F 'fruit=[0.9, 0.2]' -F 'fruit=[0.1, 0.8]'",
        V1 + """:predict -d '{"instances": [[0.9, 0.2], [0.1, 0.8]]}'""",
        V1 + """:predict -d '{"inputs": {"fruit": [[0.9, 0.2]]}}'""",
        V1,
        PHOTOS,
        Own("anabranch deploy photos.yaml"),
        "curl localhost:8000/v2/models/photos/predict -F photo=@cat.png -F photo=@dog.jpg",
        "curl localhost:8000/v2/models/photos/predict -d "
        '"{\\"photo\\": \\"$(base64 -w 0 cat.png)\\"}"',
        DOWN,
    ),
    "shared": (
        UP,
        "anabranch deploy examples/shared/model.yaml",
        "anabranch deploy examples/shared/pay.yaml",
        "anabranch deploy examples/shared/refund.yaml",
        "anabranch models",
        DOWN,
    ),
    "kserve": (
        KSERVE,
        "anabranch import kserve.yaml --output services",
        Own("anabranch validate services/graph.yaml"),
    ),
    "triton": (
        TRITON,
        "anabranch import models --output graphs",
        Own("anabranch validate graphs/graph.yaml"),
    ),
    "learning": (
        UP,
        Own("anabranch deploy learning.yaml"),
        "anabranch bandit quickstart",
        "anabranch bandit quickstart --router chooser -o json",
        "anabranch bandit quickstart --router chooser --reset",
        Own("anabranch deploy ranking.yaml"),
        asked("ranking", "7f3a", RANKED),
        "anabranch feedback ranking 7f3a --reward 1",
        "anabranch experiment ranking split",
        "anabranch experiment ranking split --error 0.01 -o json",
        Own("anabranch deploy chat.yaml"),
        "curl -N localhost:8000/v2/models/chat/generate_stream -d "
        '\'{"text_input": "Hello", "parameters": {"max_tokens": 2}}\'',
        Own("python examples/explained/train.py"),
        Own("anabranch deploy examples/explained/graph.yaml"),
        Own(
            "anabranch explain explained --explainer shap --plot shap.png --data "
            "'{\"cells\": [[14, 19, 92, 655, 0.1, 0.1, 0.09, 0.05, 0.18, 0.06]]}'"
        ),
        DOWN,
    ),
    "switching": (
        SELDON,
        "anabranch import seldon.yaml --check",
        "anabranch import seldon.yaml --output imported",
        UP,
        "anabranch deploy imported/graph.yaml",
        "curl localhost:8000/seldon/default/simple/api/v1.0/predictions --json "
        '\'{"data": {"ndarray": [[1.0, 2.0]]}}\'',
        DOWN,
    ),
    "shop": (
        "anabranch init shop --template tabular",
        "anabranch schema",
        "anabranch schema > anabranch.schema.json",
        "anabranch dashboards export monitoring",
        Own("rm -r monitoring"),
        "anabranch dashboards export monitoring/",
        "anabranch export kuberay examples/quickstart/graph.yaml --output manifests",
        "anabranch export kuberay examples/quickstart/graph.yaml --output manifests --namespace ml "
        "--image registry.example/shop:1",
        Own("rm -r manifests"),
        Own("cp shop.yaml graph.yaml"),
        "anabranch validate graph.yaml --load",
        "anabranch plan graph.yaml",
        "anabranch up --http-port 8080 --grpc-port 9080",
        Own("anabranch deploy graph.yaml"),
        Own("anabranch deploy graph.yaml --force"),
        Own("anabranch deploy graph.yaml --force"),
        NEW,
        "anabranch deploy graph.yaml --canary 5 --message 'sharper'",
        "anabranch status shop --watch",
        "anabranch infer shop -i 'x=[[1, 2]]' -i text=hello --revision r3",
        asked("shop", "7f3a", f"{X}, {TEXT}"),
        "anabranch feedback shop 7f3a --reward 1",
        Own("anabranch bandit shop"),
        "anabranch bandit shop --router learned",
        "anabranch experiment shop split",
        "anabranch monitors shop",
        "anabranch explain shop --explainer shap -i 'x=[[1, 2]]' -i text=hello --plot shap.png",
        "anabranch logs shop --follow --node net --revision r3",
        "anabranch events shop --follow",
        "anabranch history shop",
        "anabranch diff shop r3 r4",
        "anabranch compare shop",
        Own("until ls ~/.anabranch/requests/shop/*; do sleep 0.1; done"),
        Own("cp -r ~/.anabranch/requests/shop logs"),
        "anabranch replay logs/ shop --revision r4 --limit 1000",
        ORDERS,
        "anabranch batch shop orders.parquet -o answers.parquet --id order --map x=price,weight",
        "anabranch jobs --graph shop",
        "anabranch traffic shop r3=90 r4=10",
        "anabranch abort shop",
        "anabranch promote shop r4",
        "anabranch rollback shop --to r3",
        NEW,
        Own("anabranch deploy graph.yaml --rollout 5,50 --hold 1h"),
        "anabranch rollout shop status",
        Own("anabranch abort shop"),
        "anabranch backup before-upgrade.zip",
        "anabranch delete shop --yes",
        "anabranch run graph.yaml",
        DOWN,
        Own("rm -r ~/.anabranch"),
        "anabranch restore before-upgrade.zip",
    ),
    "standalone": (
        "anabranch serve examples/quickstart/graph.yaml",
        'echo "ada invoker,feedback sha256:$(printf %s "$KEY" | sha256sum | cut -d '
        "' ' -f 1)\" > keys",
        "anabranch serve examples/quickstart/graph.yaml --host 0.0.0.0 --keys keys",
        Own("cp double.yaml graph.yaml"),
        "anabranch serve graph.yaml --port 8081 --watch",
        "anabranch containerize graph.yaml -o shop.tar --tag shop:1.2.0",
        "anabranch containerize examples/quickstart/graph.yaml -o quickstart --tag quickstart:1.0 "
        "--anonymous invoker",
    ),
    "access": (
        UP,
        "anabranch keys create ci --role deployer --graph 'team-a/*' --expires 90d",
        "anabranch keys",
        "anabranch keys rotate ci --overlap 1d",
        Own("cp double.yaml graph.yaml"),
        "anabranch deploy graph.yaml",
        "anabranch infer team-a/double --data '{\"x\": [[1, 2]]}'",
        "curl localhost:8000/v2/models/team-a/double",
        Own("anabranch deploy shop.yaml"),
        "anabranch events",
        "anabranch events 'team-a/*' --kind 'rollout_*' --since 24h",
        "anabranch events list --actor key:ci --revision r4 -o json",
        "anabranch events list shop --follow",
        "anabranch events verify",
        "anabranch events verify --contains "
        "1f3870be274f6c49b3e31a0c6728957f8c7a5a2a2f5d6c3b9f2b6a1d0e4c5b7a",
        "anabranch validate policy.yaml",
        "anabranch access set policy.yaml",
        "anabranch access show",
        "anabranch access check key:ci operate digits",
        "anabranch access check anonymous call demo-1",
        CI_DEPLOYS,
        "anabranch access set policy.yaml",
        "anabranch access check key:ci deploy shop",
        REQUEST,
        Own("anabranch keys create shop --role invoker --graph shop > key"),
        Own('export KEY="$(cat key)"'),
        'curl localhost:8000/v2/models/shop/infer --json @request.json -H "Authorization: Bearer '
        '$KEY"',
        JWT,
        ISSUER,
        "anabranch access set policy.yaml",
        Own('export JWT="$(cat token)"'),
        'curl localhost:8000/v2/models/shop/infer -H "Authorization: Bearer $JWT" --json '
        "@request.json",
        "anabranch login --url http://engine:8000",
        "anabranch access me",
        "anabranch logout",
        "anabranch keys revoke ci --yes",
        DOWN,
    ),
    "secured": (
        UP,
        "anabranch build examples/quickstart/graph.yaml --version 1.2.0",
        "anabranch validate quickstart-1.2.0.bundle",
        "anabranch deploy quickstart-1.2.0.bundle",
        DOWN,
        "openssl genpkey -algorithm ed25519 -out release.key",
        "openssl pkey -in release.key -pubout -out release.pub",
        "anabranch sign quickstart-1.2.0.bundle --key release.key",
        "anabranch verify quickstart-1.2.0.bundle --keys release.pub",
        "ANABRANCH_BUNDLE_KEYS=/etc/anabranch/release.pub anabranch up",
        "anabranch deploy examples/quickstart/graph.yaml --sign release.key",
        DOWN,
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 "
        "-subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout key.pem "
        "-out cert.pem",
        "anabranch up --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem",
        DOWN,
        certificate("engine.example.com", "authority"),
        Own("mv authority.key key.pem"),
        Own("cp authority.pem cert.pem"),
        certificate("ann", "ann"),
        Own("cp ann.pem clients.pem"),
        "anabranch up --tls-cert cert.pem --tls-key key.pem --client-ca clients.pem",
        "curl --cacert authority.pem --cert ann.pem --key ann.key "
        "https://engine.example.com:8000/v2/models/quickstart/ready",
        DOWN,
    ),
    "batch": (
        UP,
        Own("anabranch deploy examples/quickstart/graph.yaml"),
        Own("printf 'id,sweet,size\\n1,0.9,0.2\\n2,0.1,0.8\\n' > fruit.csv"),
        "anabranch batch quickstart fruit.csv -o answers.csv --map 'fruit=sweet,size'",
        Own('test "$(wc -l < answers.csv)" = 3'),
        DOWN,
    ),
    "digits": (
        Own("cp digits.yaml graph.yaml"),
        PIXELS,
        UP,
        "anabranch deploy graph.yaml",
        NEW,
        "anabranch deploy graph.yaml --now",
        NEW,
        Own("anabranch deploy graph.yaml"),
        asked("digits", "5f1c2b9e", DIGIT),
        "anabranch explain digits --input pixels=@digit.npy --target 3",
        "anabranch explain digits --input pixels=@digit.npy --explainer why --plot why.png "
        "--html why.html",
        "anabranch logs digits",
        "anabranch logs digits --follow --node scale",
        "anabranch logs digits --revision 3 --request-id 5f1c2b9e",
        "anabranch logs digits -o json",
        NEW,
        "anabranch deploy graph.yaml --canary 10",
        Own("until ls ~/.anabranch/requests/digits/*; do sleep 0.1; done"),
        "anabranch replay ~/.anabranch/requests/digits digits --revision r4",
        "anabranch traffic digits",
        "anabranch traffic digits r3=90 r4=10",
        asked("digits", "7f3a…", DIGIT),
        asked("digits", "9c1e…", DIGIT),
        'curl localhost:8000/v2/models/digits/feedback -d \'{"id": "7f3a…", "reward": 1}\'',
        "anabranch feedback digits 9c1e… --reward 1",
        "anabranch traffic digits r3=1 r4=0.0005",
        "anabranch abort digits",
        NEW,
        "anabranch deploy graph.yaml --mirror 25",
        NEW,
        "anabranch deploy graph.yaml --mirror 100",
        "anabranch traffic digits --mirror r5=25 --mirror r6=100",
        "anabranch compare digits",
        "anabranch traffic digits --mirror r5=0",
        NEW,
        "anabranch deploy graph.yaml --rollout 5,25,50 --hold 2m",
        Own("anabranch abort digits"),
        "anabranch promote digits",
        "anabranch history digits",
        "anabranch diff digits r3 r4",
        "anabranch rollback digits",
        "anabranch rollback digits --to r3",
        DOWN,
    ),
}
