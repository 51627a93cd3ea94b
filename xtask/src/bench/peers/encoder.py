"""ONNX Runtime's side of `cargo xtask bench encoder --peers`.

Builds the best graph that ONNX Runtime has for a BERT sentence transformer from a directory with model.safetensors and
config.json, then answers JSON requests, one a line, on standard output:

  {"load": NAME, "batches": [[[token, …], …], …]}     pads each batch to its longest sequence; nothing of that is timed
  {"run": NAME, "threads": N, "precision": "int8"}    runs all batches in order  → {"seconds": S}
  {"embed": NAME, "threads": N, "precision": "int8"}  → {"embeddings": [[float, …], …]}, in the order of the sequences

The graph follows the operators of https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

MICROSOFT = "com.microsoft"


def read_safetensors(path):
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        if entry["dtype"] == "F32":
            start, end = entry["data_offsets"]
            values = np.frombuffer(data[8 + size + start : 8 + size + end], np.float32)
            tensors[name.removeprefix("bert.")] = values.reshape(entry["shape"])
    return tensors


def graph(directory, path):
    """Attention and GELU with its bias are one node each. The additions before the layer norms stay apart from them, which
    is quicker on int8 than SkipLayerNormalization."""
    tensors = read_safetensors(directory / "model.safetensors")
    config = json.loads((directory / "config.json").read_text())
    nodes, initializers = [], []

    def constant(name, value):
        initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(kind, inputs, output, **attributes):
        nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def norm(x, prefix, output):
        weights = [constant(f"{prefix}.{part}", tensors[f"{prefix}.{part}"]) for part in ("weight", "bias")]
        return node("LayerNormalization", [x, *weights], output, axis=-1, epsilon=config["layer_norm_eps"])

    def linear(x, prefix, output):
        """Without its bias, which is returned for what comes next."""
        weight = constant(f"{prefix}.weight", tensors[f"{prefix}.weight"].T)
        return node("MatMul", [x, weight], output), constant(f"{prefix}.bias", tensors[f"{prefix}.bias"])

    words = constant("words", tensors["embeddings.word_embeddings.weight"])
    # All tokens are of type 0.
    kind = tensors["embeddings.token_type_embeddings.weight"][0]
    places = constant("places", tensors["embeddings.position_embeddings.weight"] + kind)
    x = node("Add", [node("Gather", [words, "tokens"], "word"), node("Gather", [places, "positions"], "place")], "sum")
    x = norm(x, "embeddings.LayerNorm", "embedded")
    for layer in range(config["num_hidden_layers"]):
        prefix = f"encoder.layer.{layer}"
        own = [f"{prefix}.attention.self.{part}" for part in ("query", "key", "value")]
        weight = constant(f"{prefix}.qkv", np.concatenate([tensors[f"{name}.weight"].T for name in own], axis=1))
        bias = constant(f"{prefix}.qkv_bias", np.concatenate([tensors[f"{name}.bias"] for name in own]))
        heads = config["num_attention_heads"]
        y = node("Attention", [x, weight, bias, "lengths"], f"{prefix}.context", domain=MICROSOFT, num_heads=heads)
        y, bias = linear(y, f"{prefix}.attention.output.dense", f"{prefix}.projected")
        y = node("Add", [node("Add", [y, bias], f"{prefix}.projected_bias"), x], f"{prefix}.attended")
        x = norm(y, f"{prefix}.attention.output.LayerNorm", f"{prefix}.attended_norm")
        y, bias = linear(x, f"{prefix}.intermediate.dense", f"{prefix}.wide")
        y = node("BiasGelu", [y, bias], f"{prefix}.gelu", domain=MICROSOFT)
        y, bias = linear(y, f"{prefix}.output.dense", f"{prefix}.narrow")
        y = node("Add", [node("Add", [y, bias], f"{prefix}.narrow_bias"), x], f"{prefix}.out")
        x = norm(y, f"{prefix}.output.LayerNorm", f"{prefix}.out_norm")
    pooled = node("Squeeze", [node("MatMul", ["shares", x], "pooled"), constant("one", np.array([1]))], "mean")
    node("LpNormalization", [pooled], "embedding", axis=-1, p=2)

    inputs = [
        helper.make_tensor_value_info("tokens", TensorProto.INT64, ["batch", "sequence"]),
        helper.make_tensor_value_info("positions", TensorProto.INT64, ["sequence"]),
        helper.make_tensor_value_info("lengths", TensorProto.INT32, ["batch"]),
        helper.make_tensor_value_info("shares", TensorProto.FLOAT, ["batch", 1, "sequence"]),
    ]
    output = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", config["hidden_size"]])
    model = helper.make_model(
        helper.make_graph(nodes, "encoder", inputs, [output], initializers),
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT, 1)],
        ir_version=8,
    )
    onnx.save(model, path)


def quantise(source, path, reduce_range):
    quantize_dynamic(
        source,
        path,
        per_channel=True,
        reduce_range=reduce_range,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["MatMul", "Attention", "Gather"],
        extra_options={"DefaultTensorType": TensorProto.FLOAT},
    )


class Peer:
    def __init__(self, directory, cache):
        cache.mkdir(parents=True, exist_ok=True)
        float32 = cache / "float32.onnx"
        graph(directory, float32)
        self.models = {"float32": float32}
        self.sessions, self.workloads = {}, {}
        # Seven-bit weights keep AVX2's products in range; where there are VNNI instructions either may be quicker.
        self.load("trial", [[[101] + [1000 + i] * 62 + [102] for i in range(32)]])
        trials = {}
        for reduce_range in (True, False):
            name = "reduced" if reduce_range else "full"
            self.models[name] = cache / f"{name}.onnx"
            quantise(float32, self.models[name], reduce_range)
            self.run("trial", 1, name)
            trials[name] = min(self.run("trial", 1, name) for _ in range(5))
        best = min(trials, key=trials.get)
        self.models["int8"] = self.models[best]
        self.range = best

    def session(self, precision, threads):
        key = precision, threads
        if key not in self.sessions:
            options = ort.SessionOptions()
            options.intra_op_num_threads = threads
            options.inter_op_num_threads = 1
            options.log_severity_level = 3
            self.sessions[key] = ort.InferenceSession(
                str(self.models[precision]),
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=["SkipLayerNormFusion"],
            )
        return self.sessions[key]

    def load(self, name, batches):
        feeds = []
        for batch in batches:
            lengths = np.array([len(tokens) for tokens in batch], np.int32)
            longest = int(lengths.max())
            padded = np.zeros((len(batch), longest), np.int64)
            for row, tokens in zip(padded, batch):
                row[: len(tokens)] = tokens
            positions = np.arange(longest)
            shares = (positions[None] < lengths[:, None]) / lengths[:, None]
            feeds.append(
                {
                    "tokens": padded,
                    "positions": positions,
                    "lengths": lengths,
                    "shares": shares[:, None].astype(np.float32),
                }
            )
        self.workloads[name] = feeds

    def run(self, name, threads, precision):
        session = self.session(precision, threads)
        start = time.perf_counter()
        for feed in self.workloads[name]:
            session.run(None, feed)
        return time.perf_counter() - start

    def embed(self, name, threads, precision):
        session = self.session(precision, threads)
        return [row for feed in self.workloads[name] for row in session.run(None, feed)[0].tolist()]


def main():
    peer = Peer(Path(sys.argv[1]), Path(sys.argv[2]))
    say = lambda answer: print(json.dumps(answer), flush=True)
    say({"version": ort.__version__, "range": peer.range})
    for line in sys.stdin:
        request = json.loads(line)
        if "load" in request:
            peer.load(request["load"], request["batches"])
            say({})
        elif "run" in request:
            say({"seconds": peer.run(request["run"], request["threads"], request["precision"])})
        else:
            say({"embeddings": peer.embed(request["embed"], request["threads"], request["precision"])})


if __name__ == "__main__":
    main()
