"""The result of an audit: frozen dataclasses whose `to_dict` is the JSON of the contract (schema_version 1.0)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

Label = Literal["CONSISTENT", "INCONCLUSIVE", "NO_MATCH", "DERIVATIVE", "OUT_OF_SCOPE"]


@dataclass(frozen=True)
class Suspect:
    """What the audited file is."""

    path: str
    sha256: str | None
    tensor_sha256: str | None
    bytes: int | None
    dialect: str | None
    algorithm: list[str]
    base_family: str | None
    modules: int
    rank: dict[str, float] | None
    """{min, max, median} over modules."""
    declared: dict[str, str]
    """The file's own metadata, untrusted, cut to 4 kB a value and 1000 values."""
    warnings: list[str]
    config_name: str | None = None
    """Name of the file beside it that scales were read from (PEFT's adapter_config.json); None without one."""
    config_sha256: str | None = None
    """That file's digest: with other scales the same tensors are another change of weights."""


@dataclass(frozen=True)
class ReferenceSetInfo:
    """Which reference set was used, and what its validity card says."""

    name: str
    digest: str
    base: str
    features: str
    """Name of the feature extractor with every parameter that changes a number."""
    artists: int
    references: int
    background_artists: int
    alpha_floor: float
    """The least level α at which it can name anybody: `OpenSet.names_from`."""
    validity: dict[str, Any] = field(default_factory=dict)
    """Headline of the validity card: {figure: {value, low, high, of}}; empty when the set was never evaluated.  Where
    it is of LoRAs on other works than the references', `same_works` is that figure of LoRAs on these very works."""
    certified: bool | None = None
    """Whether the card certifies the set at its α; None where it was never evaluated."""
    not_certified: list[str] = field(default_factory=list)
    """The card's reasons against it."""


@dataclass(frozen=True)
class Coverage:
    """How much of the suspect the reference set can speak about."""

    matched_modules: int
    suspect_modules: int
    reference_modules: int
    fraction: float
    """matched / reference modules that carry weight in the embedding, 0…1."""
    in_common: float | None = None
    """How much of what all references share the file has, in standard deviations of a file that has nothing of it; None
    where the set cannot tell."""


@dataclass(frozen=True)
class Verdict:
    """The conclusion in plain words."""

    label: Label
    artist: str | None
    sentence: str
    reasons: list[str]
    would_change: list[str]


@dataclass(frozen=True)
class OpenSet:
    """Is the suspect of the set at all?  H0: it comes from an artist outside it."""

    p: float
    p_min: float
    null_artists: int
    statistic: float
    """How far the first artist's score stands above the mean of the next three."""
    null: list[float]
    """The statistic of references whose own artist was left out, one or more per artist."""
    alpha: float
    p_interval: tuple[float, float]
    """95 % range of the chance that p estimates, over the artists that the null happens to have."""
    p_member: float
    """H0: the suspect comes from an artist of the set, with works its references do not show; small = from none."""
    outsiders_no_match: float
    """Share of LoRAs by outside artists with p_member ≤ α, artists weighing equally: what NO_MATCH can find, 0…1."""
    threshold: float | None = None
    """p ≤ α exactly when the statistic is above this; None when no score can reach α."""
    null_names: list[str] = field(default_factory=list)
    """The artists behind the null, each of whom counts once."""
    null_owner: list[int] = field(default_factory=list)
    """For each value of `null`, its artist's place in `null_names`: with these, p can be computed again by hand."""
    works_split: bool = True
    """Whether the set knows which halves of an artist's works its references were trained on.  Without it nothing is
    known of files on other works: p_member and every p_exclusion are 1, and nobody is ever ruled out."""
    lookalikes: list[dict[str, Any]] = field(default_factory=list)
    """{artist, share}: whose references, their own artist left out of the set, are taken for the suspect's first artist
    at α, and how many of them, 0…1.  For such an artist outside the set the error rate is far above the average."""
    p_member_interval: tuple[float, float] = (0.0, 1.0)
    """95 % range of the chance that p_member estimates, over the artists that the set happens to have."""
    asked: list[str] = field(default_factory=list)
    """The artists who were asked about; empty: all of the set.  Otherwise H0 of `p_member` is that the suspect comes
    from one of them."""
    independent: bool = False
    """Whether they were declared to be chosen independently of the file.  H0 of `p` is then that the suspect comes from
    none of them, and `statistic` and `null` are of the first of them, above the three best of all others."""
    p_otherwise: float | None = None
    """The p-value of the other test: of the artists asked about alone where they were not declared to be chosen so, of
    all artists of the set where they were; None where nobody was asked about."""
    own_no_match: dict[str, int] | None = None
    """{files, ruled_out}: how many own LoRAs of an artist asked about, on works that the other references do not show,
    have p_member ≤ α; of the one of whom the largest share has.  None where nobody was asked about."""
    membership: dict[str, Any] | None = None
    """{threshold, null, owner}: what `p_member` is computed from, beside the suspect's best score (with those asked
    about).  null: the best score of references, with their own artist where somebody was asked about, their half of the
    works left out.  owner: of each, its artist's place in `null_names`.  p_member ≤ α exactly when the suspect's score
    is below the threshold; None when no score can be.  None where `works_split` is false."""
    same_genre: dict[str, Any] | None = None
    """{genre, artists, files, reached}: how many LoRAs by the other artists of the genre of a single artist tested for
    alone stand out for that artist as clearly; None where there is no such artist, or nobody of the genre."""

    @property
    def names_from(self) -> float:
        """The least level α at which anybody can be named: an artist's own test has one artist fewer in its null."""
        return self.p_min if self.independent else 1 / self.null_artists

    @property
    def reachable(self) -> bool:
        """Whether any file could have an artist named at this α."""
        return self.alpha >= self.names_from


@dataclass(frozen=True)
class ArtistScore:
    """One artist of the set against the suspect."""

    artist: str
    genre: str
    score: float
    interval: tuple[float, float]
    """90 % range of the score if the same artist's LoRA were trained again (other pictures, seed, recipe)."""
    rank: int
    """1 = closest."""
    p: float
    """H0: the suspect is not of this artist.  Of the first artist (of those tested for) the larger of its own p-value
    and the open-set test's; of the others Holm's."""
    p_exclusion: float
    """H0: the suspect is of this artist; small = excluded."""
    log10_lr: float | None
    """Of the first artist, or of the single one tested for; None for all others: nothing is said for or against
    them."""
    lr_bound: float | None
    verbal: str | None
    nearest_reference: str
    subnetworks: dict[str, float]
    """Score from one sub-network alone: ff, self_attention, cross_attention."""
    log10_lr_other_works: float | None = None
    """As `log10_lr`, if the suspect is for certain on other works than the references; None where it is not known."""


@dataclass(frozen=True)
class StyleMap:
    """A two-dimensional view of the embedding: artists' centroids and the suspect."""

    artists: list[dict[str, Any]]
    """{artist, genre, x, y} each."""
    suspect: tuple[float, float]
    explained: float
    """Share of variance that the two dimensions show, 0…1."""


@dataclass(frozen=True)
class Skipped:
    """Why a file was not audited."""

    code: str
    """malformed, not-a-lora, out-of-scope, …"""
    reason: str
    advice: str


@dataclass(frozen=True)
class Audit:
    """One audit.  Parts that could not be computed are None or empty, with the reason in `verdict` or `skipped`."""

    tool: dict[str, str]
    created_at: str
    seed: int
    options: dict[str, Any]
    """What is needed to reproduce: alpha, resamples, refs, features; artists and independent, thresholds, known, policy
    where there are any."""
    suspect: Suspect
    reference_set: ReferenceSetInfo
    coverage: Coverage | None
    verdict: Verdict
    open_set: OpenSet | None
    artists: list[ArtistScore]
    mixture: list[dict[str, Any]]
    derivative: dict[str, Any] | None
    controls: dict[str, Any]
    map: StyleMap | None
    skipped: Skipped | None
    timing_s: dict[str, float]
    schema_version: str = "1.0"

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of the contract; same inputs, set and seed give the same object, `timing_s` aside."""
        return asdict(self)

    def renamed(self, path: str, name: str) -> Audit:
        """The audit of the temporary copy at `path`, under the name of what was copied, in its sentences too."""
        found = replace(self, suspect=replace(self.suspect, path=name))
        if self.skipped is None:
            return found
        sentence, reason = (text.replace(path, name) for text in (self.verdict.sentence, self.skipped.reason))
        verdict = replace(self.verdict, sentence=sentence, reasons=[reason])
        return replace(found, verdict=verdict, skipped=replace(self.skipped, reason=reason))
