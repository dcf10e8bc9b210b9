"""Plausible run folders for tests of the analysis: deterministic, no model, made-up numbers.

`write_study(root, "modules", seeds=(1, 2, 3))` writes root/modules with everything a finished sweep leaves, and returns
its folder.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ablations import records
from core.run_folder import path_of

LATENT, STEPS, TYPES = 32, 2000, 900
BANNER = "Embedded corpus: a test bench, not natural language"
SIGNATURE = "nrefs:1|case:mixed|eff:no|tok:none|smooth:exp|version:2.6.0"
KS = (6, 8, 10, 20, 40)

Spec = dict[str, Any]


def modules_arms() -> list[Spec]:
    """The eight arms of the 2x2x2."""
    arms = []
    for anchor in (True, False):
        for norm in (True, False):
            for factor in (4.0, 1.0):
                parts = ["anchor" if anchor else "rounding", "norm" if norm else "nonorm", f"F{factor:g}"]
                name, label = "+".join(parts), " · ".join(parts)
                toggles = {"anchor_loss": anchor, "embedding_norm": norm, "noise_factor": factor}
                values = {"token_loss": "anchor" if anchor else "rounding", "noise_factor": factor}
                values["embedding_norm"] = "latent" if norm else "none"
                arms.append({"name": name, "label": label, "toggles": toggles, "values": values})
    return arms


SYSTEMS: dict[str, tuple[float, float]] = {
    "cmlm": (4, 0.4),
    "rdm": (6, 0.5),
    "mdlm": (9, 0.45),
    "diffuseq": (14, 2.5),
    "diffusion_lm": (20, 1.2),
    "seqdiffuseq": (12, 1.8),
    "dinoiser": (2, 1.1),
}
"""Of the study `all_systems`: by how much a method's made-up score is lower, and its time longer, than Difformer's."""


def systems_arms(kind: str) -> tuple[list[Spec], dict[str, list[Any]], str]:
    """The study `systems`, whose arms are two methods, `all_systems`, all, or `beam`, all the autoregressive one."""
    own = {"method": "autoregressive", "label_smoothing": 0.1}
    if kind == "beam":
        return (
            [
                {"name": f"beam{k}", "label": f"beam {k}", "toggles": {kind: k}, "values": {kind: k}, "options": own}
                for k in (1, 5)
            ],
            {kind: [1, 5]},
            "beam1",
        )
    options = {"difformer": {"method": "difformer", "diffusion_steps": STEPS, "noise_factor": 4.0, "schedule": "sqrt"},
               "autoregressive": own | {"beam": 5}}  # fmt: skip
    options |= {name: {"method": name} for name in SYSTEMS} if kind == "all_systems" else {}
    arms = [
        {"name": name, "label": name, "toggles": {"method": name}, "values": {"method": name}, "options": each}
        for name, each in options.items()
    ]
    return arms, {"method": list(options)}, "difformer"


def transfer_arms() -> tuple[list[Spec], dict[str, list[Any]], str]:
    """The study `transfer`: three methods, each with the eight arms of the 2x2x2."""
    methods = ["diffuseq", "seqdiffuseq", "diffusion_lm"]
    arms = []
    for method in methods:
        for arm in reversed(modules_arms()):
            name, label = f"{method}+{arm['name']}", f"{method} · {arm['label']}"
            own = {key: {"method": method} | arm[key] for key in ("toggles", "values")}
            arms.append({"name": name, "label": label} | own)
    factors: dict[str, list[Any]] = {"method": list(methods), "anchor_loss": [False, True]}
    factors |= {"embedding_norm": [False, True], "noise_factor": [1.0, 4.0]}
    return arms, factors, "diffuseq+rounding+nonorm+F1"


def without_diffusion(folder: Path) -> None:
    """Leave in a run folder what an autoregressive Transformer leaves there: nothing of steps, t and embeddings."""
    (folder / "probes.npz").unlink()
    scores = json.loads((folder / "scores.json").read_text())
    for key in ("by_steps", "early_stop", "decoding_steps"):
        del scores[key]
    (folder / "scores.json").write_text(json.dumps(scores | {"candidates": "1", "beam": 5}))
    for name in ("metrics.jsonl", "samples.jsonl"):
        rows = [json.loads(line) for line in (folder / name).read_text().splitlines()]
        kept = [{k: v for k, v in row.items() if not k.startswith("diag/")} for row in rows]
        for row in kept:
            for key in ("train/mse", "val/mse", "trajectory"):
                row.pop(key, None)
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in kept))


def samplers_arms() -> tuple[list[Spec], dict[str, list[Any]], str]:
    """The study `samplers` with three samplers at two numbers of network calls."""
    factors: dict[str, list[Any]] = {"sampler": ["ancestral", "ddim", "cedi"], "network_calls": [2, 20]}
    arms = []
    for sampler in factors["sampler"]:
        for calls in factors["network_calls"]:
            toggles = {"sampler": sampler, "network_calls": calls}
            values = {"sampler": sampler, "decoding_steps": calls, "early_stop": 0}
            name, label = f"{sampler}+{calls}calls", f"{sampler} · {calls}calls"
            arms.append({"name": name, "label": label, "toggles": toggles, "values": values})
    return arms, factors, "ancestral+20calls"


def study_arms(kind: str) -> tuple[list[Spec], dict[str, list[Any]], str]:
    """Arms, factors and control of a study by name."""
    if kind == "modules":
        factors: dict[str, list[Any]] = {
            "anchor_loss": [True, False],
            "embedding_norm": [True, False],
            "noise_factor": [4.0, 1.0],
        }
        return modules_arms(), factors, "anchor+norm+F4"
    if kind == "transfer":
        return transfer_arms()
    if kind in ("systems", "all_systems", "beam"):
        return systems_arms(kind)
    if kind == "samplers":
        return samplers_arms()
    if kind == "noise_factor":
        levels: list[Any] = [1.0, 2.0, 3.0, 4.0, 6.0, 8.0]
        names, labels = [f"F{x:g}" for x in levels], [f"F{x:g}" for x in levels]
        control = "F4"
    elif kind == "token_loss":
        levels = ["anchor", "rounding", "none", "anchor_frozen"]
        names, labels, control = levels, ["anchor", "rounding", "none", "anchor, frozen table"], "anchor"
    else:
        levels = [f"level_{i:02d}" for i in range(12)]
        names, labels, control = levels, [f"arm {i} of many" for i in range(12)], "level_00"
    arms = [
        {"name": n, "label": label, "toggles": {kind: level}, "values": {kind: level}}
        for n, label, level in zip(names, labels, levels, strict=True)
    ]
    return arms, {kind: levels}, control


def traits(toggles: Spec) -> tuple[str, bool, float]:
    """Token loss, embedding norm and noise factor of an arm, whichever study it belongs to."""
    token = str(toggles.get("token_loss", "anchor" if toggles.get("anchor_loss", True) else "rounding"))
    return token, bool(toggles.get("embedding_norm", True)), float(toggles.get("noise_factor", 4.0))


def true_score(toggles: Spec) -> float:
    """The made-up expected BLEU of an arm."""
    token, norm, factor = traits(toggles)
    score = {"anchor": 76.0, "rounding": 66.0, "none": 3.0, "anchor_frozen": 70.0}[token] - (0 if norm else 5)
    score -= SYSTEMS.get(str(toggles.get("method")), (0, 1))[0]
    score -= 9.0 * abs(np.log2(factor / 4.0)) ** 1.2 * (0.6 if token == "anchor" else 1.0)
    return max(score, 0.5)


def score_row(toggles: Spec, rng: np.random.Generator, seed: int) -> Spec:
    """scores.json."""
    bleu = float(np.clip(true_score(toggles) + 1.5 * np.sin(9.7 * seed) + rng.normal(0, 1.0), 0.1, 99))
    by_steps = [
        {
            "steps": k,
            "calls": max(1, k - 5),
            "bleu": bleu * (1 - 0.9 * np.exp(-k / 6)),
            "sentences": 100,
            "seconds": (0.3 + 0.11 * k) * SYSTEMS.get(str(toggles.get("method")), (0, 1))[1],
        }
        for k in KS
    ]
    return {
        "bleu": bleu,
        "chrf": 100 * (bleu / 100) ** 0.8,
        "rouge1": min(99.0, bleu + 12),
        "rouge2": bleu,
        "rougeL": min(98.0, bleu + 8),
        "brevity_penalty": 0.97,
        "length_ratio": 0.985,
        "signature": SIGNATURE,
        "chrf_signature": "nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:2.6.0",
        "sentences": 400,
        "candidates": "1x1",
        "decoding_steps": 20,
        "early_stop": 5,
        "val_bleu": bleu + 0.4,
        "floor/bleu": 1.5,
        "floor/chrf": 24.0,
        "floor/rougeL": 25.0,
        "checkpoints_averaged": 5,
        "by_steps": by_steps,
    }


def metric_rows(toggles: Spec, rng: np.random.Generator, updates: int = 700) -> list[Spec]:
    """metrics.jsonl."""
    token, norm, factor = traits(toggles)
    shrink = {"anchor": 0.1, "rounding": 0.45, "none": 0.97, "anchor_frozen": 0.0}[token] * (0.3 if norm else 1)
    rows: list[Spec] = []
    for step in range(20, updates + 1, 20):
        done = 1 - np.exp(-step / 180)
        scale = (1.0 if norm else 0.35) * (1 - shrink * done) + (0 if norm else 0.25 * done)
        nll = (6.8 - done * (5.6 if token != "none" else 1.2)) * (1 + 0.06 * np.log2(factor + 1)) + rng.normal(0, 0.08)
        mse = scale**2 * (0.12 + 0.75 * (1 - done)) * (1 + 0.1 * np.log2(factor)) * np.exp(rng.normal(0, 0.05))
        rounded = 6.8 * np.exp(-step / 60) + 0.9
        term = {"none": 0.0, "rounding": rounded}.get(token, nll + 0.5)
        row = {"train/step": step, "train/loss": mse + term, "train/mse": mse, "train/token": term, "train/nll": nll}
        row |= {"diag/norm_mean": scale * np.sqrt(LATENT) * np.exp(rng.normal(0, 0.01)), "diag/norm_std": 0.1}
        row |= {"diag/cosine": shrink * 0.9 * done + 0.01, "diag/rank": LATENT * (1 - 0.8 * shrink * done) - 1}
        row |= {"diag/types": TYPES - 60}
        rows.append(
            row | {"train/lr": 5e-4, "train/grad_norm": 0.8, "train/tokens": step * 1000, "train/seconds": step / 9}
        )
        if step % 200 == 0:
            rows.append(
                {"train/step": step, "val/loss": mse + nll, "val/mse": mse, "val/nll": nll, "val/bleu": 60 * done}
            )
    return rows


def probe_arrays(toggles: Spec, rng: np.random.Generator, score: float) -> dict[str, np.ndarray]:
    """probes.npz."""
    token, norm, factor = traits(toggles)
    rank = np.arange(1, TYPES + 1)
    frequency = np.floor(60000 / rank**1.05 / 8).astype(int)
    frequency[-60:] = 0
    growth = {"none": -0.5, "anchor_frozen": 0.0}.get(token, 0.55)
    raw = 0.64 * (1 + growth * np.log10(1 + frequency)) * np.exp(rng.normal(0, 0.09, TYPES))
    latent = np.sqrt(LATENT) * (1 + 0.02 * rng.normal(0, 1, TYPES)) if norm else raw
    t = np.linspace(0, STEPS - 1, 21).round()
    u = t / STEPS
    noise = np.sqrt((1 - (1 - np.sqrt(u + 1e-4))) / np.maximum(1 - np.sqrt(u), 1e-3)) * factor * 0.35
    accuracy = 0.98 / (1 + (noise / 3.0) ** 1.5) * (0.35 + 0.65 * score / 80) + 0.02
    curves = {"t": t, "mse": 0.9 * (1 - accuracy) ** 0.8, "nll": 6.5 * (1 - accuracy), "accuracy": accuracy}
    curves |= {"nearest": 1 / (1 + noise**3), "nearest_F1": 1 / (1 + (noise / factor) ** 3)}
    fig5 = np.linspace(0, STEPS - 1, 9).round()
    trust = 1 / (1 + np.exp(-(fig5 / STEPS - 0.6 + 0.14 * factor) * 9))
    along = np.linspace(500, STEPS - 1, 15).round()
    rise = score * (0.55 + 0.45 * (1 - along / STEPS))
    figure = {"fig5_t": fig5, "oneshot_bleu": score * 0.55 * trust}
    figure |= {"along_t": along, "along_bleu": rise}
    wobble = {k: v * np.exp(rng.normal(0, 0.02, v.shape)) for k, v in (curves | figure).items() if not k.endswith("t")}
    types = np.array([f"w{i}" for i in rank])
    named = {"frequency": frequency, "source_frequency": frequency[::-1], "types": types}
    named |= {"norm": latent, "norm_raw": raw}
    return named | curves | figure | wobble


def sample_rows(rng: np.random.Generator, score: float, count: int = 30) -> list[Spec]:
    """samples.jsonl: a decoding that sets one word after the other right, as far as the score lets it."""
    rows = []
    for i in range(count):
        reference = [f"r{i}w{j}" for j in range(6)]
        wrong = [f"x{rng.integers(90)}" for _ in reference]
        right = round(len(reference) * score / 100)
        texts = [" ".join(reference[:k] + wrong[k:]) for k in range(right + 1)]
        trajectory = [{"t": STEPS - 1 - 100 * k, "text": text} for k, text in enumerate(texts)]
        row = {"id": i, "source": f"s{i} a b", "reference": " ".join(reference), "hypothesis": texts[-1]}
        rows.append(row | {"sentence_bleu": 100.0 * right / len(reference), "trajectory": trajectory})
    return rows


def write_run(folder: Path, study: str, arm: Spec, seed: int, index: int) -> None:
    """One finished run folder."""
    rng = np.random.default_rng([seed, index])
    folder.mkdir(parents=True)
    scores = score_row(arm["toggles"], rng, seed)
    config = {"seed": seed, "updates": 700, "batch_tokens": 1024, "data": None}
    config |= arm.get("options", {"diffusion_steps": STEPS}) | arm["values"]
    if config.get("method") == "difformer":
        del config["method"]  # as runs leave out the default one
    data = {"name": "embedded corpus (translate)", "digest": "0a1b2c3d", "train_pairs": 20000, "valid_pairs": 400}
    record = {
        "format": 1, "study": study, "arm": arm["name"], "label": arm["label"], "seed": seed, "hash": folder.name[-8:],
        "config": config, "toggles": arm["toggles"], "state": "finished", "reason": None,
        "outcome": "collapsed" if scores["bleu"] < 5 else "ok", "attempts": 1, "lease": None,
        "versions": {"python": "3.11.2", "torch": "2.13.0"}, "commit": "abcdef0", "device": "cpu", "threads": 1,
        "processor": "Some CPU @ 2.0GHz",
        "command": "make sweep", "started": "2026-11-20T10:00:00", "finished": f"2026-11-20T10:{index:02d}:{seed:02d}",
        "data": data | {"test_pairs": 400, "dropped": {"too long": 3}, "vocab_size": TYPES, "tokenizer": "words"},
        "parameters": 612000, "tuning": {"trials": 0},
        "cost": {"wall_s": 61.0, "cpu_s": 60.0, "train_s": 50.0, "decode_s": 8.0, "train_tokens": 700000,
                 "train_tokens_per_cpu_s": 14000.0, "decode_sentences_per_cpu_s": 50.0 + index},
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "scores.json").write_text(json.dumps(scores))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in metric_rows(arm["toggles"], rng)))
    np.savez(folder / "probes.npz", **probe_arrays(arm["toggles"], rng, scores["bleu"]))  # type: ignore[arg-type]
    rows = sample_rows(rng, scores["bleu"])
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if config.get("method") == "autoregressive":
        without_diffusion(folder)


def write_study(root: Path, kind: str = "modules", seeds: Sequence[int] = (1, 2, 3)) -> Path:
    """A finished study root/<kind>; kinds: modules, noise_factor, token_loss, many (12 arms),
    transfer (three methods x 2x2x2),
    systems (two methods), all_systems (nine), beam (no arm of which has steps), samplers (three at 2 and 20 calls)."""
    arms, factors, control = study_arms(kind)
    path = root / kind
    for index, arm in enumerate(arms):
        for seed in seeds:
            write_run(path / f"{arm['name']}-s{seed}-{index:04x}{seed:04x}", kind, arm, seed, index)
    described = [{key: value for key, value in arm.items() if key != "options"} for arm in arms]
    info = {
        "study": kind, "metric": "bleu", "seeds": list(seeds), "arms": described, "factors": factors,
        "control": control, "runs": [folder.name for folder in sorted(path.iterdir())],
        "command": f"make sweep STUDY={kind}", "preset": "tiny", "banner": BANNER,
    }  # fmt: skip
    (path / "study.json").write_text(json.dumps(info))
    return path


def edit(path: Path, **changes: Any) -> None:
    """Change fields of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


if __name__ == "__main__":
    import sys

    for name in ("modules", "noise_factor", "token_loss", "many"):
        print(write_study(Path(sys.argv[1]), name))


def pending_run(root: Path, seed: int = 1) -> Path:
    """A run as ablations.records makes it, that nobody has begun."""
    folder = path_of(root, "study", "a+b", seed, "12345678")
    config = {"seed": seed, "updates": 5}
    records.create(folder, study="study", arm="a+b", label="a · b", seed=seed, hash8="12345678", config=config)
    return folder
