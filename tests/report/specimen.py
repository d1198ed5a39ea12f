"""Invented audits for the tests and for looking at the documents: no figure here was measured."""

from __future__ import annotations

import random

from auditor.result import (
    ArtistScore,
    Audit,
    Coverage,
    OpenSet,
    ReferenceSetInfo,
    Skipped,
    StyleMap,
    Suspect,
    Verdict,
)

PAINTERS = {
    "impressionism": "Claude Monet|Camille Pissarro|Berthe Morisot|Alfred Sisley|Mary Cassatt|Gustave Caillebotte|"
    "Armand Guillaumin|Pierre-Auguste Renoir|Edgar Degas|Childe Hassam",
    "baroque": "Artemisia Gentileschi|Caravaggio|Peter Paul Rubens|Rembrandt|Diego Velázquez|Frans Hals|Judith Leyster|"
    "Georges de La Tour|Jan Vermeer|Jusepe de Ribera",
    "rococo": "François Boucher|Jean-Honoré Fragonard|Antoine Watteau|Rosalba Carriera|Giovanni Battista Tiepolo|"
    "Maurice Quentin de La Tour|Thomas Gainsborough|Nicolas Lancret",
    "ukiyo-e": "Katsushika Hokusai|Utagawa Hiroshige|Kitagawa Utamaro|Utagawa Kuniyoshi|Tōshūsai Sharaku|"
    "Suzuki Harunobu|Tsukioka Yoshitoshi|Torii Kiyonaga|Keisai Eisen",
    "pointillism": "Georges Seurat|Paul Signac|Henri-Edmond Cross|Théo van Rysselberghe|Maximilien Luce|"
    "Charles Angrand|Anna Boch|Albert Dubois-Pillet",
    "cubism": "Juan Gris|Georges Braque|Jean Metzinger|Albert Gleizes|Lyubov Popova|Robert Delaunay|Marie Laurencin|"
    "Roger de La Fresnaye",
    "naïve art": "Henri Rousseau|Grandma Moses|Niko Pirosmani|Séraphine Louis|Camille Bombois|"
    "Alfred Wallis|Ivan Generalić",
}
SHA = "9f2c6f1f5b1f4f0c3d0f0f8a4c5b3f1d2e7a9b6c8d1e0f2a3b4c5d6e7f809a1b"
TENSORS = "41d0b7c9e2f3a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9012a3b4c"
DIGEST = "sha256:7c1a5f0be4d3927f6b8a1c0d9e8f7a6b5c4d3e2f1a0b9c8d7e6f5a4b3c2d1e0f"
HOSTILE = {
    "ss_output_name": "<script>alert(1)</script>",
    "ss_tag_frequency": '{"img": {"</code></dd><img src=x onerror=alert(1)>": 3}}',
    "modelspec.title": "\u202egpj.tenoM\u202c \u2066x\u2069 zero\u200bwidth \x1b[31mred\x07\x00",
    '"><svg onload=alert(1)>': "javascript:alert(1)",
    "ss_training_comment": "[go](http://evil.example/?a=1&b=2) ![x](http://evil.example/p) `code` | @someone #1 |",
    "style": "</style><style>*{display:none}</style><link rel=stylesheet href=//evil.example/a.css>",
    "jinja": "{{ 7*7 }} {% raw %} {0} %s [bold red]rich[/]",
    "long": "A" * 5000,
    "cdata": "]]>&amp;<![CDATA[",
    "surrogate": "lone \ud800 half, noncharacter \uffff, line\u2028separator",
}


def clamp(x: float) -> float:
    return min(1.0, max(0.0, x))


def artists(rng: random.Random, top: str | None, lead: float) -> tuple[list[ArtistScore], StyleMap, float]:
    """Sixty artists' scores, a map and the best score."""
    centres = {g: (rng.uniform(-3, 3), rng.uniform(-2, 2)) for g in PAINTERS}
    raw, dots = [], []
    for genre, names in PAINTERS.items():
        for name in names.split("|"):
            score = rng.gauss(0.1, 0.75) + (0.6 if top and genre == "impressionism" else 0.0)
            raw.append((name, genre, lead if name == top else min(score, lead - 0.9 if top else 9.0)))
            x, y = centres[genre]
            dots.append({"artist": name, "genre": genre, "x": rng.gauss(x, 0.75), "y": rng.gauss(y, 0.6)})
    raw.sort(key=lambda r: -r[2])
    home = next(d for d in dots if d["artist"] == raw[0][0])
    star = (home["x"] + 0.45, home["y"] - 0.3)
    rows = []
    for i, (name, genre, score) in enumerate(raw, start=1):
        half = rng.uniform(0.18, 0.42)
        lr = None if i > 1 else 1.38 if top else -0.55
        verbal = None if lr is None else "moderate support" if lr > 1 else "weak support against"
        parts = {"ff": 0.4, "self_attention": 0.55, "cross_attention": 0.85}
        rows.append(
            ArtistScore(
                artist=name,
                genre=genre,
                score=round(score, 4),
                interval=(round(score - half, 4), round(score + half * 0.9, 4)),
                rank=i,
                p=round(clamp(1 / 61 if i == 1 and top else 0.14 + i / 50), 6),
                p_exclusion=round(clamp(0.62 if i == 1 and top else 0.09 - i / 700), 6),
                log10_lr=lr,
                lr_bound=None if lr is None else 1.778,
                verbal=verbal,
                nearest_reference=f"{name.split()[-1].lower()}/seed1-half-a",
                subnetworks={k: round(score + rng.gauss(0, s), 4) for k, s in parts.items()},
            )
        )
    return rows, StyleMap(dots, star, 0.2314), raw[0][2]


def audit(label: str = "CONSISTENT", *, hostile: bool = False, alarm: bool = False, seed: int = 7) -> Audit:
    """An audit with the given label."""
    if label == "OUT_OF_SCOPE":
        return skipped("out-of-scope", hostile=hostile)
    rng = random.Random(seed)
    top = "Berthe Morisot" if label in ("CONSISTENT", "DERIVATIVE") else None
    rows, style_map, best = artists(rng, top, 3.42)
    null = sorted(round(rng.gauss(1.55, 0.42) + rng.expovariate(3.2), 4) for _ in range(180))
    null = [v for v in null if v < 3.3] if top else null
    null += [1.5] * (180 - len(null))
    p = (1 + 60 * sum(v >= best for v in null) / 180) / 61
    controls = {k: {"top_artist": n, "p": q} for k, n, q in CONTROLS}
    if alarm:
        controls["norm_only"] = {"top_artist": rows[0].artist, "p": 0.032787}
    return Audit(
        tool={"name": "lora-style-audit", "version": "0.1.0"},
        created_at="2025-01-15T09:30:00Z",
        seed=0,
        options={"alpha": 0.05, "resamples": 10000, "refs": "painters-sd15", "features": FEATURES},
        suspect=suspect(hostile),
        reference_set=reference_set(),
        coverage=Coverage(180, 264, 192, 0.9412),
        verdict=verdict(label, rows[0].artist, p),
        open_set=opened(p, best, null, [r.artist for r in rows]),
        artists=rows,
        mixture=[
            {"artist": rows[0].artist, "share": 0.71, "p": 0.0164},
            {"artist": rows[1].artist, "share": 0.12, "p": 0.4},
        ],
        derivative=DERIVATIVE if label == "DERIVATIVE" else None,
        controls=controls,
        map=style_map,
        skipped=None,
        timing_s={"read": 0.21, "embed": 0.4, "score": 0.05, "render": 0.02},
    )


def opened(p: float, best: float, null: list[float], names: list[str]) -> OpenSet:
    """The open-set test of 60 artists with three files each."""
    beyond = sorted(null, reverse=True)[:6]  # p of anything above the seventh is at most (1 + 6 / 3) / 61 < 0.05
    owner = [i // 3 for i in range(len(null))]
    span = (round(p / 2, 6), round(p, 6))
    figures = round(p, 6), round(1 / 61, 6), 60, best, null, 0.05, span, 0.031, 0.42, beyond[-1]
    return OpenSet(*figures, sorted(names), owner)


FEATURES = "gram-left+delta/k16/seed0/v1"
CONTROLS = (
    ("rank_only", "Juan Gris", 0.7213),
    ("norm_only", "Grandma Moses", 0.3115),
    ("spectrum_only", "Anna Boch", 0.541),
)
DERIVATIVE = {
    "of": "painters-sd15/morisot/seed1-half-a.safetensors",
    "relation": "resized",
    "figures": {"cos_delta_w": 0.9871, "coverage": 1.0, "rank": "8 of 16"},
}


def verdict(label: str, artist: str, p: float) -> Verdict:
    """A verdict in the words of a policy."""
    sentences = {
        "CONSISTENT": f"This LoRA resembles the references of {artist} more than LoRAs by artists outside the set do.",
        "INCONCLUSIVE": f"The nearest artist is {artist}, but the resemblance is too weak to name anyone.",
        "NO_MATCH": "This LoRA resembles no artist of the set more than LoRAs by artists outside it do.",
        "DERIVATIVE": "This LoRA is a resized copy of a known file, the reference morisot/seed1-half-a.",
    }
    reasons = [
        f"The open-set p-value is {p:.3f}; the level fixed beforehand is 0.05.",
        "The first artist stays first in the feed-forward part and in self-attention.",
        "None of the controls names an artist.",
    ]
    changes = [
        "More artists of the same genre in the reference set: the nearest neighbour outside it may be as close.",
        "References from other works of the artist.",
        "Evidence about how the file was made: its training pictures, logs or intermediate files.",
    ]
    return Verdict(label, artist if label in ("CONSISTENT", "DERIVATIVE") else None, sentences[label], reasons, changes)  # type: ignore[arg-type]


def suspect(hostile: bool) -> Suspect:
    """The suspect file."""
    declared = {
        "ss_base_model_version": "sd_v1-5",
        "ss_network_dim": "16",
        "ss_network_alpha": "8",
        "ss_output_name": "soft-garden-light",
        "ss_num_train_images": "24",
        "ss_learning_rate": "0.0001",
    }
    bad = '../x" onmouseover="alert(1)/\u202e<b>evil</b>\n.safetensors'
    return Suspect(
        path=bad if hostile else "downloads/soft-garden-light.safetensors",
        sha256=SHA,
        tensor_sha256=TENSORS,
        bytes=19_083_264,
        dialect="kohya",
        algorithm=["lora"],
        base_family="sd15",
        modules=264,
        rank={"min": 4, "max": 16, "median": 16},
        declared=HOSTILE if hostile else declared,
        warnings=["<img src=x onerror=alert(2)> [red]x[/] \x1b[2J"]
        if hostile
        else ["72 text-encoder modules were not compared."],
    )


def reference_set() -> ReferenceSetInfo:
    """The reference set and its card."""
    card = {
        "top1": (0.951, 0.914, 0.981, 120),
        "map": (0.902, 0.861, 0.937, 120),
        "open_set_auc": (0.742, 0.688, 0.793, 120),
        "found_at_alpha": (0.25, 0.17, 0.34, 120),
        "false_attribution": (0.042, 0.011, 0.083, 120),
        "eer": (0.031, 0.018, 0.049, "7 200 pairs"),
        "cllr": (0.214, 0.166, 0.271, "7 200 pairs"),
    }
    validity = {k: dict(zip(("value", "low", "high", "of"), v, strict=True)) for k, v in card.items()}
    return ReferenceSetInfo(
        "painters-sd15", DIGEST, "stable-diffusion-v1-5", FEATURES, 60, 180, 0, round(1 / 61, 6), validity
    )


SKIPPED = {
    "out-of-scope": (
        "The file adapts SDXL; the reference set painters-sd15 is made for Stable Diffusion 1.5.",
        "Use a reference set made for SDXL, for example with --refs.",
    ),
    "malformed": (
        "The header promises 19 083 264 bytes and the file ends after 4 096.",
        "Download the file again and compare its SHA-256 with the publisher's.",
    ),
}


def skipped(code: str = "out-of-scope", *, hostile: bool = False) -> Audit:
    """A file that was not audited."""
    reason, advice = SKIPPED[code]
    return Audit(
        tool={"name": "lora-style-audit", "version": "0.1.0"},
        created_at="2025-01-15T09:30:00Z",
        seed=0,
        options={"alpha": 0.05, "resamples": 10000, "refs": "painters-sd15"},
        suspect=suspect(hostile),
        reference_set=reference_set(),
        coverage=None,
        verdict=Verdict(
            "OUT_OF_SCOPE", None, "This file could not be audited with the reference set painters-sd15.", [reason], []
        ),
        open_set=None,
        artists=[],
        mixture=[],
        derivative=None,
        controls={},
        map=None,
        skipped=Skipped(code, reason, advice),
        timing_s={"read": 0.01},
    )
