"""Every English sentence of verdicts and documents, in one catalogue: a translation is another file like this one.

`say(key, **values)` fills a sentence for a document, `plain` for data; `lines(key)` gives a list of them.  Values are
inserted as they are; a document format escapes the result.  No sentence claims more than a resemblance with the error
rate of naming it.  Not here are messages of errors and warnings about a file, which stand where they are raised, and
names that a set's maker chose.
"""

from __future__ import annotations

import re
from typing import Final

LANGUAGE: Final = "en"
"""Of this catalogue, as documents name it."""

TEXTS: Final[dict[str, str]] = {
    # the verdict, as the audit has it
    "verdict.consistent": "This LoRA resembles LoRAs trained on works by {artist}: {share} LoRAs by artists "
    "outside the set point as clearly to someone in it.",
    "verdict.undecided": "The evidence does not decide. The nearest artist is {artist}, but {share} LoRAs by "
    "artists outside the set point as clearly to someone in it.",
    "verdict.no_match": "This LoRA resembles no artist of the set: {share} LoRAs by the set’s own artists stay "
    "as far from everyone in it.",
    "verdict.consistent.declared": "This LoRA resembles LoRAs trained on works by {artist}: {share} LoRAs by other "
    "artists stand out for {whom} as clearly.",
    "verdict.undecided.far": "The evidence does not decide. No artist of the set stands out: {share} LoRAs by artists "
    "outside the set point more clearly to someone in it, or as clearly.",
    "verdict.undecided.declared": "The evidence does not decide: {share} LoRAs by other artists stand out for {whom} "
    "as clearly as this one.",
    "verdict.no_match.asked": "This LoRA does not resemble LoRAs trained on works by {whom}: {share} LoRAs by the "
    "set’s own artists come no closer to their own artist.",
    "verdict.undecided.some": "The evidence does not decide about {someone}: {share} LoRAs by artists outside the set "
    "point as clearly to someone in it.",
    "verdict.undecided.behind": "The evidence does not decide about {someone}: {artist}, who was not asked about, "
    "stands nearer, and {share} LoRAs by artists outside the set point as clearly to someone in it.",
    "verdict.undecided.behind.far": "The evidence does not decide about {someone}, and no artist of the set stands "
    "out: {share} LoRAs by artists outside the set point more clearly to someone in it, or as clearly.",
    "verdict.nearer": "The evidence does not decide about {artist}: {nearer}, who was not asked about, stands nearer.",
    "whom.or": " or ",
    "whom.one": "one of them",
    "whom.several": "one of these {n} artists",
    "verdict.partial": "This file changes {matched} of the {reference} layers that the reference set looks at "
    "({share}). That is too little to conclude from: {least} is asked for.",
    "verdict.unlike": "This file has nothing of what all references of the set share, whoever the artist. It may be a "
    "LoRA of another base model, or noise: the set cannot speak about it.",
    "verdict.unreachable": "The file stands out from LoRAs of artists outside the set, but the set has too few artists "
    "to name one of them: it can do so from α = {least} on, and {alpha} was asked for.",
    "verdict.nobody": "The file stands out from LoRAs of artists outside the set, but no single artist of the set "
    "explains it: the adjusted p-value of the nearest, {artist}, is {p}.",
    "verdict.recipe": "The recipe alone ({controls}) singles out {artist} as well: the resemblance may be one of "
    "training settings, not of style.",
    "verdict.weak": "The file resembles {artist} at the stated error rate, but the log10 likelihood ratio is {found} "
    "and the policy asks for {asked}.",
    "verdict.weak.unreachable": "The file resembles {artist} at the stated error rate, but the log10 likelihood ratio "
    "is {found} and the policy asks for {asked}. No file can reach it with this set, whose bound is {bound}.",
    "verdict.not_audited.unread": "Not audited: the file could not be read. {problem}",
    "verdict.not_audited.no_lora": "Not audited: the file is no LoRA of an image model. {problem}",
    "verdict.not_audited.elsewhere": "Not audited: the file is outside what this audit can speak about. {problem}",
    "warning.declared": "{n} more entries of the metadata that the file declares were left out.",
    "in100": "about {n} in 100",
    "in100.few": "fewer than 1 in 100",
    "in100.all": "nearly all",
    "why.open_set.rejects": "Open-set test: p = {p} (least possible {p_min}), claimed error rate {alpha}.",
    "why.open_set.not": "Open-set test: p = {p} > {alpha} (least possible {p_min}).",
    "why.open_set.nearest": "Open-set test: p = {p} > {alpha}; the nearest of the {artists} artists is {artist}.",
    "why.open_set.rejects.declared": "Test of {whom}: p = {p} (least possible {p_min}), claimed error rate {alpha}.",
    "why.open_set.not.declared": "Test of {whom}: p = {p} > {alpha} (least possible {p_min}).",
    "why.open_set.nearest.asked": "{artist} is the nearest of the set’s {artists} artists; of those asked about, the "
    "nearest is number {rank}.",
    "why.chosen.declared": "This rests on the declaration that the choice was independent of how the file or its "
    "pictures look, and of any earlier audit of it. Chosen by likeness, {whom} would most often be the nearest artist "
    "of the set, and p that of the test of all artists: {p}.",
    "why.chosen.asked": "For {whom} alone p is {p}. That holds only where the choice was independent of how the file "
    "or its pictures look, and of any earlier audit of it.",
    "why.genre.declared": "Of {files} LoRAs by other artists of the set of the same genre ({genre}; artists: {n}), "
    "{reached} stand out for {whom} as clearly.",
    "why.nearer": "{nearer} comes first, {artist} is number {rank} of the set. Nobody is named behind somebody nearer.",
    "why.artist": "{artist} against all other artists: p = {p}, the larger of this artist’s own p-value and the "
    "open-set test’s.",
    "why.lookalikes": "Artists of the set whose own LoRAs would be taken for {artist} at this level α without them: "
    "{listed}. An artist outside the set as near to {artist} would be mistaken as often.",
    "why.lookalikes.none": "Of the set’s other artists, each left out in turn, none was taken for {artist}.",
    "why.controls": "By rank, strength or spectrum alone this artist is not singled out.",
    "why.possible": "{n} of {of} artists cannot be excluded: {names}.",
    "why.possible.more": "{n} of {of} artists cannot be excluded: {names} and {more} more.",
    "why.member.rejects": "Test of “by an artist of the set”: p = {p_member}, claimed error rate {alpha}.",
    "why.outsiders": "Of LoRAs by artists outside the set, {share} come out like this.",
    "why.member.rejects.asked": "Test of “by {whom}”: p = {p_member}, claimed error rate {alpha}.",
    "why.outsiders.asked": "Of LoRAs by other artists, {share} come out like this.",
    "why.own": "Of {files} LoRAs made from works by {whom}, held back from the comparison, {ruled_out} came out like "
    "this.",
    "why.own.none": "None of {files} LoRAs made from works by {whom}, held back from the comparison, came out like "
    "this.",
    "why.not.own": "It scores lower than LoRAs by the set’s own artists mostly do with their own artist (p = {p}), but "
    "so do {ruled_out} of {files} LoRAs by an artist asked about, too many to rule anybody out.",
    "why.not.member.asked": "It may still be by {whom}: {share} LoRAs by the set’s own artists come no closer to their "
    "own artist (p = {p}).",
    "why.not.mixed.asked": "It scores lower than LoRAs by the set’s own artists mostly do with their own artist (p = "
    "{p}), but stands out for {whom} all the same, as a mixture of styles may: nobody is ruled out then.",
    "why.not.telling.asked": "It scores lower than LoRAs by the set’s own artists mostly do with their own artist (p = "
    "{p}), but with this set only {share} LoRAs by others score as low, too few to conclude.",
    "why.not.split.asked": "Nor can {whom} be ruled out: which works the references were made from is not known, and "
    "so not how far a file on other works of their artists may lie.",
    "why.not.split": "Nor can it be shown to be by nobody of the set: which works the references were made from is "
    "not known, and so not how far a file on other works of their artists may lie.",
    "why.not.member": "It may still be by an artist of the set: {share} of their LoRAs come no closer to anybody "
    "(p = {p}).",
    "why.not.whole": "It scores lower than LoRAs by the set’s own artists mostly do (p = {p}), but it changes only "
    "{matched} of the {reference} layers that the set looks at ({share}). Files cut down score lower whoever made "
    "them, so “no match” is never said of less than {half}.",
    "why.not.kindred": "It scores lower than LoRAs by the set’s own artists mostly do (p = {p}), but it has nothing of "
    "what all references share, whoever the artist. A LoRA of another base model looks so, or noise: this set cannot "
    "speak about it, and “no match” is not said.",
    "why.unlike": "LoRAs of one base model move its layers alike in part, whatever they were made from. This file has "
    "{found} standard deviations of that; files with nothing of it have about 0, and {least} are asked for.",
    "why.not.telling": "It scores lower than LoRAs by the set’s own artists mostly do (p = {p}), but with this set "
    "only {share} LoRAs by outside artists score as low, too few to conclude.",
    "why.derived": "Cosine of the two updates: {cosine}. Unrelated LoRAs reach {unrelated} at most, as far as was "
    "measured (on Stable Diffusion 1 and 2); from {related} on two files are called related.",
    "why.derived.estimate": "Cosine of the two updates: about {cosine}, estimated from 256 sums that the set keeps of "
    "each reference. Unrelated LoRAs reach {unrelated} at most, as far as was measured; from an estimate of {related} "
    "on two files are called related.",
    "why.derived.reference": "The reference file: {known}.",
    # what a policy makes of it
    "gate.not_audited": "The file was not audited; the policy says nothing about it.",
    "gate.not_blocking": "The policy does not block {label}.",
    "gate.not_of_concern": "{artist} is not among the policy's artists of concern.",
    "gate.known": "The baseline file holds this verdict about these tensors.",
    "gate.ignored": "Ignored until {day}: {reason}",
    "gate.lapsed": "An entry to ignore it expired on {day} ({reason}).",
    "gate.blocks": "The policy blocks {label}.",
    # masthead and meaning
    "title": "Style audit of a LoRA",
    "title.page": "{label} · {file} · style audit",
    "masthead.tool": "{name} {version}",
    "label.CONSISTENT": "Consistent with one artist",
    "label.INCONCLUSIVE": "Inconclusive",
    "label.NO_MATCH": "No match in this set",
    "label.NO_MATCH.any": "No match",
    "label.NO_MATCH.asked": "No match with {whom}",
    "label.DERIVATIVE": "Shares its weights with a known file",
    "label.OUT_OF_SCOPE": "Out of scope: not audited",
    "label.malformed": "Could not be read: not audited",
    "label.not-a-lora": "No LoRA of an image model: not audited",
    "meaning.CONSISTENT": "A resemblance, with the error rate stated below. An artist outside the set whose style "
    "is close could look the same.",
    "meaning.CONSISTENT.declared": "A resemblance, with the error rate stated below, which holds for {whom} if chosen "
    "independently of how the file looks. {alike}",
    "meaning.alike": "Of LoRAs by these artists of the set, so many would pass for {artist} at the limit of this "
    "audit, were their own artist not in it: {listed}.",
    "meaning.alike.none": "Another artist whose style is close could look the same.",
    "meaning.INCONCLUSIVE": "The figures are not clear enough for a conclusion in either direction.",
    "meaning.NO_MATCH": "No artist of this set stands out. Artists who are not in the set were not looked at.",
    "meaning.NO_MATCH.asked": "The file is unlike LoRAs of works by {whom}. As a smaller part of a mixture of styles, "
    "such works could be in it all the same.",
    "meaning.DERIVATIVE": "This file’s weights and those of a file that is already known have one origin. Which was "
    "made first, the figures do not tell.",
    "meaning.OUT_OF_SCOPE": "This file could not be compared. Nothing is known about whose style it carries.",
    "date": "{day} {month} {year}, {time} UTC",
    # how sure
    "h.sure": "How sure?",
    "asked": "Examined: one LoRA, a small file that changes what a picture-generating model draws. Question: does it "
    "resemble LoRAs made from the works of one of {artists} known artists (the reference set “{set}”) more closely "
    "than LoRAs of other artists do? Only the file’s numbers were compared; no picture was looked at.",
    "question": "Asked about: {whom}.",
    "question.declared": "Asked about: {whom}. It was declared that the choice was independent of how the file or its "
    "pictures look, and of any earlier audit of it.",
    "asked.declared": "Examined: one LoRA, a small file that changes what a picture-generating model draws. Question: "
    "does it resemble LoRAs made from the works of {whom} more closely than LoRAs of other artists do? It was "
    "declared that the choice was independent of how the file or its pictures look, and of any earlier audit of it. "
    "All other artists of the reference set “{set}” serve for comparison. Only the file’s numbers were compared; no "
    "picture was looked at.",
    "asked.some": "Examined: one LoRA, a small file that changes what a picture-generating model draws. Question: "
    "does it resemble LoRAs made from the works of {whom} more closely than LoRAs of other artists do, or can this be "
    "ruled out? {artists} known artists (the reference set “{set}”) were compared. Only the file’s numbers were "
    "compared; no picture was looked at.",
    "asked.not": "A LoRA is a small file that changes what a picture-generating model draws. The question was whose "
    "style, if that of one of {artists} known artists (the reference set “{set}”), this one carries. It could not be "
    "answered.",
    "asked.copy": "Examined: one LoRA, a small file that changes what a picture-generating model draws. Question: do "
    "its weights go back to those of a file that is known? Known are the references of the set “{set}” (LoRAs of "
    "{artists} artists), and the files named under Coverage, if any. Only numbers were compared; no picture was looked "
    "at.",
    "copied.estimate": "The weights themselves were compared, not the style. Their agreement (the cosine of the two "
    "updates) is about {cosine}, estimated from 256 sums that the set keeps of each reference: 1 means one and the "
    "same change of the model at any strength, 0 nothing in common. LoRAs that have nothing to do with each other "
    "reach {unrelated} at most, as far as was measured; from an estimate of {related} on two files are called related.",
    "copied": "The weights themselves were compared, not the style. Their agreement (the cosine of the two updates) is "
    "{cosine}: 1 means one and the same change of the model at any strength, 0 nothing in common. LoRAs that have "
    "nothing to do with each other reach {unrelated} at most, as far as was measured; from {related} on two files are "
    "called related.",
    "copied.style": "The figures on style further down are given all the same. The conclusion does not rest on them.",
    "sure.of100": "Of 100 LoRAs by artists outside the set, about {n} would point at least this clearly to "
    "some artist in it.",
    "sure.of100.few": "Of 100 LoRAs by artists outside the set, fewer than 1 would point at least this clearly to "
    "some artist in it.",
    "sure.whose": "Here that is {artist}, who was not asked about: it is no figure of {whom}.",
    "sure.of100.declared": "Of 100 LoRAs by other artists, about {n} would stand out for {whom} at least this clearly.",
    "sure.of100.few.declared": "Of 100 LoRAs by other artists, fewer than 1 would stand out for {whom} at least this "
    "clearly.",
    "sure.genre": "Of the {files} by other artists of the same genre ({genre}) in the set, {reached} do.",
    "sure.member.asked": "Of 100 LoRAs by artists of the set, about {n} would come no closer to their own artist than "
    "this one comes to {whom}.",
    "sure.member.few.asked": "Of 100 LoRAs by artists of the set, fewer than 1 would come no closer to its own artist "
    "than this one comes to {whom}.",
    "sure.member.found.asked": "Of 100 LoRAs by other artists, about {n} come out as this one did; the others stay "
    "inconclusive.",
    "sure.member.found.all.asked": "All LoRAs by other artists that were examined come out as this one did.",
    "sure.member": "Of 100 LoRAs by artists who are in the set, about {n} would look as unlike everyone in it as this "
    "one does.",
    "sure.member.few": "Of 100 LoRAs by artists who are in the set, fewer than 1 would look as unlike everyone in it "
    "as this one does.",
    "sure.member.found": "Of 100 LoRAs by artists outside the set, about {n} come out as this one did; the others stay "
    "inconclusive.",
    "sure.member.found.all": "All LoRAs by artists outside the set that were examined come out as this one did.",
    "sure.floor.reached": "Of those examined none did, but {smallest} (1 in {tested}) is the smallest figure that "
    "{artists} artists can support; the range is {low} to {high} in 100.",
    "sure.floor": "The smallest figure this set can give is p = {p_min}, for it rests on {artists} artists.",
    "sure.below": "The limit set for this audit is {limit} in 100 (α = {alpha}): {n} is within it.",
    "sure.above": "The limit set for this audit is {limit} in 100 (α = {alpha}): {n} is above it.",
    "sure.alpha.unreachable": "No file can come to a match at α = {alpha} with this set: it names somebody from α = "
    "{least} on.",
    "range": "{low} to {high}",
    "fact.p": "p-value",
    "fact.p.note": "chance of so clear a resemblance for an artist outside the set; 95 % range {range}",
    "fact.p.note.declared": "chance of so clear a resemblance to {whom} for another artist; 95 % range {range}",
    "fact.p.note.point.declared": "chance of so clear a resemblance to {whom} for another artist",
    "fact.independent": "p for {whom} alone",
    "fact.independent.note": "holds only if chosen independently of how the file or its pictures look",
    "fact.likeness": "p, if chosen by likeness",
    "fact.likeness.note": "chance for an artist outside the set of so clear a resemblance to anybody in it",
    "fact.member.asked": "p, if it were by {whom}",
    "fact.member.note.asked": "chance of so little resemblance to one’s own artist; 95 % range {range}",
    "fact.p.note.point": "chance of so clear a resemblance for an artist outside the set",
    "fact.relation": "relation",
    "fact.cosine": "agreement of the weights",
    "fact.cosine.note": "cosine of the two updates, −1 to 1",
    "fact.of": "of {of}",
    "fact.member": "p, if by an artist of the set",
    "fact.p.member": "p, if by an outsider",
    "fact.member.note": "chance of so little resemblance to anyone for an artist in the set; 95 % range {range}",
    "fact.floor": "smallest p this set can give",
    "fact.floor.note": "1 / ({artists} artists + 1)",
    "fact.coverage": "coverage",
    "fact.coverage.note": "{matched} of {reference} reference modules",
    "fact.lr": "strength of evidence",
    "fact.lr.note": "likelihood ratio {lr} (this set allows {bound} at most)",
    "fact.lr.for": ": so clear a resemblance is {times} times as likely if the file was made from works by {artist} as "
    "if from works by an artist outside the set",
    "fact.lr.for.declared": ": so clear a resemblance is {times} times as likely if the file was made from works by "
    "{artist} as if from works by another artist",
    "fact.lr.against": ": so clear a resemblance is {times} times as likely if the file was made from works by an "
    "artist outside the set as if from works by {artist}",
    "fact.lr.against.declared": ": so clear a resemblance is {times} times as likely if the file was made from works "
    "by another artist as if from works by {artist}",
    "fact.lr.other": ". This is if nobody knows which works it was made from; if from others than the references, the "
    "ratio is {lr}",
    "fact.lr.unknown": ". It rests on held-out files that may be on the very works of the others; on other works it "
    "would be smaller, nobody knows by how much",
    "fact.lr.independent": ". Against another artist taken at random from the set, if the choice was independent; "
    "against one of the same genre it would be smaller",
    "fact.lr.mute": "not measurable with this set",
    "fact.lr.mute.note": "no file can reach a likelihood ratio above {bound} with it; the {lr} of this one speaks "
    "neither for nor against",
    "fact.lr.nobound": "likelihood ratio {lr}",
    "fact.lr.useless": ". Do not rely on it: on known files the ratios of this set did not inform (Cllr {cllr})",
    "h.not": "What this does not say",
    "h.why": "Why this conclusion",
    # artists
    "h.artists": "Closest artists",
    "artists.lead": "Score: similarity of the suspect and the artist’s references, calibrated; higher is closer. "
    "The line through each bar is the range in which the score of another LoRA of the same artist would lie nine times "
    "in ten.",
    "artists.lead.table": "Score: similarity of the suspect and the artist’s references, calibrated; higher is closer. "
    "90 % range: where the score of another LoRA of the same artist would lie.",
    "artists.evidence": "Evidence: the likelihood ratio (LR) of this artist against an artist outside the set, which "
    "only the first artist can have, for it is computed from how far the first stands out.",
    "artists.evidence.asked": "p and evidence are given of {whom} only. Evidence is the likelihood ratio (LR), which "
    "only the first artist can have, for it is computed from how far the first stands out.",
    "artists.evidence.none": "No likelihood ratio is shown beside “no match”: it is computed from how far the first "
    "artist stands out, and the conclusion from how far even that artist is.",
    "artists.evidence.declared": "Evidence: the likelihood ratio (LR), computed from how far {whom} stands out, "
    "against another artist of the set taken at random; only a single artist who is tested for has one.",
    "artists.nearest": "Nearest single reference: {reference} ({artist}).",
    "artists.more": "Show the other {n} artists too",
    "artists.rest": "The other {n} artists",
    "artists.cut": "{n} more artists are in the JSON document.",
    "col.rank": "Rank",
    "col.artist": "Artist",
    "col.score": "Score",
    "col.interval": "90 % range",
    "col.p": "p",
    "col.p.long": "p: of the first artist the larger of the p-value above and of how often a LoRA by others scores so "
    "high with this artist; of all others the latter, corrected for looking at all artists, which with many artists is "
    "always near 1 and decides nothing",
    "col.p.long.declared": "p: of {whom} alone; nobody else was tested for",
    "col.exclusion": "p excl.",
    "col.exclusion.long": "p of exclusion: how often LoRAs by the set’s artists, all taken together, score so low with "
    "their own artist; LoRAs of an artist whose works differ much may do so far more often",
    "col.evidence": "Evidence",
    "col.genre": "Genre",
    "col.bar": "from 0",
    "evidence.none": "–",
    "evidence.lr": "LR {lr}",
    # figures
    "h.null": "Against artists outside the set",
    "h.null.declared": "Against other artists",
    "h.null.member": "How LoRAs score by the set’s own artists",
    "h.null.member.asked": "How LoRAs score with their own artist",
    "null.lead.member": "Each dot is a LoRA by an artist of the set, compared with LoRAs of that artist’s other works "
    "and with all other artists: its score with whoever is nearest. As low as the suspect, or lower: {beyond} of "
    "{total}.",
    "null.lead.bars.member": "Each bar counts LoRAs by the set’s artists, compared with LoRAs of their artist’s other "
    "works and with all other artists: their score with whoever is nearest. As low as the suspect, or lower: {beyond} "
    "of {total}.",
    "null.lead.member.asked": "Each dot is a LoRA by an artist of the set, compared with LoRAs of that artist’s other "
    "works: its score with its own artist. As low as the suspect with {whom}, or lower: {beyond} of {total}.",
    "null.lead.bars.member.asked": "Each bar counts LoRAs by the set’s artists, compared with LoRAs of their artist’s "
    "other works: their score with their own artist. As low as the suspect with {whom}, or lower: {beyond} of "
    "{total}.",
    "null.title.member": "Best scores of LoRAs by artists of the set, with the suspect marked",
    "null.title.member.asked": "Scores of LoRAs with their own artist, with the suspect’s score with {whom} marked",
    "null.axis.member": "score with the nearest artist",
    "null.axis.member.asked": "score with their own artist",
    "null.counts": "This share is not p: each artist counts once, however many LoRAs (p = {p}).",
    "null.which": "The {used} are those of the set’s {references} references that adapt the layers looked at.",
    "null.which.declared": "Of the set’s {references} references, {used} adapt the layers looked at; those by {whom} "
    "are left aside.",
    "null.lead.declared": "Each dot is a LoRA by another artist, who was removed from the set before asking how far "
    "{whom} stands out. In {beyond} of {total} it is as far as in the suspect.",
    "null.lead.bars.declared": "Each bar counts LoRAs by another artist, who was removed from the set before asking "
    "how far {whom} stands out. In {beyond} of {total} it is as far as in the suspect.",
    "null.title.declared": "How far {whom} stands out in LoRAs by other artists, with the suspect marked",
    "null.axis.declared": "how far {whom} stands out, above the three best of all others",
    "col.scores.declared": "How far {whom} stands out",
    "null.lead": "Each dot is a LoRA whose own artist was removed from the set before asking who is nearest: how far "
    "the first artist stands out when the answer is “nobody here”. In {beyond} of {total} it stands out as far as in "
    "the suspect.",
    "null.lead.bars": "Each bar counts LoRAs whose own artist was removed from the set before asking who is nearest: "
    "how far the first artist stands out when the answer is “nobody here”. In {beyond} of {total} it stands out as far "
    "as in the suspect.",
    "null.title": "How far the first artist stands out in LoRAs by artists outside the set, with the suspect marked",
    "null.desc": "{total} values from {low} to {high}; the suspect’s is {statistic}; {beyond} reach it.",
    "null.axis": "how far the first artist stands out",
    "null.count": "LoRAs",
    "null.suspect": "suspect {value}",
    "null.alpha": "p ≤ {alpha}",
    "null.threshold": "p ≤ {alpha} asks for more than {threshold}.",
    "null.threshold.declared": "p ≤ {alpha} asks for more than {threshold}; 0 is as near as the three nearest of all "
    "others are on average. For a match {whom} must also come first.",
    "null.threshold.member": "p ≤ {alpha} asks for less than {threshold}.",
    "null.threshold.about": "p ≤ {alpha} asks for more than about {threshold}.",
    "null.artists": "The null rests on the {n} artists below, each of whom counts once however many files there are.",
    "null.all": "All {n} values",
    "h.null.all": "All values behind the p-value",
    "col.scores": "How far another artist stands out",
    "null.all.lead": "An artist’s LoRAs, scored with a set from which that artist was left out. p = (1 + the sum over "
    "artists of the share of their values that reach the suspect’s) / (artists + 1).",
    "null.all.lead.member": "An artist’s LoRAs, each scored with LoRAs of that artist’s other works. p = (1 + the sum "
    "over artists of the share of their values that do not exceed the suspect’s) / (artists + 1).",
    "null.all.cut": "{n} more values are in the JSON document.",
    "map.nearest": "Numbered by score: {list}.",
    "map.tip": "{artist} · {genre} · rank {rank}",
    "null.tip": "{low} to {high}: {n} LoRAs",
    "map.kinds": "Marks: {list}.",
    "null.col.from": "Lead from",
    "null.col.from.member": "Score from",
    "null.col.to": "to",
    "null.col.count": "LoRAs",
    "h.map": "Where it lies",
    "map.lead": "The reference set flattened to two dimensions, which show {explained} of its variance. It is a "
    "picture for orientation; the figures above are computed in all dimensions.",
    "map.title": "Map of the reference set with the suspect",
    "map.desc": "{n} artists in {genres} genres; the suspect is the star. Nearest by score: {nearest}.",
    "map.suspect": "suspect",
    "map.col.x": "x",
    "map.col.y": "y",
    "map.other": "other genres",
    "map.genre.none": "no genre given",
    "h.subnetworks": "Which part of the network speaks",
    "subnetworks.lead": "Score of {artist} from one part of the network alone (bar from 0; dark where it is the "
    "highest of all) beside all other artists (ticks). Parts that agree make the reading steadier; one part alone "
    "makes it weaker.",
    "subnetworks.title": "Score by part of the network",
    "subnetworks.desc": "{artist}: {list}.",
    "subnetworks.col.part": "Part",
    "subnetworks.col.rank": "Rank of {artist}",
    "subnetworks.rank": "rank {rank} of {n}",
    "subnetworks.col.first": "First in this part",
    "h.pips": "One hundred LoRAs by outside artists",
    "h.pips.declared": "One hundred LoRAs by other artists",
    "h.pips.member": "One hundred LoRAs by artists of the set",
    "pips.desc": "{n} of 100 dots are filled.",
    "table.show": "The same as a table",
    # mixture, derivative
    "h.mixture": "Mixture",
    "mixture.lead": "The suspect’s direction written as a sum of artists’ directions. Artists are listed one after "
    "another, as long as what the ones before leave of the suspect still stands out for somebody: p is that of this "
    "test. The share itself is an estimate and is not tested: at 100 % the suspect goes as far in the artist’s "
    "direction as LoRAs of that artist alone mostly do, which does not say that all its pictures were by that artist.",
    "mixture.rest": "explained by no artist of the set",
    "col.share": "Share",
    "h.derivative": "Known file behind this one",
    "derivative.of": "Known file",
    "derivative.of.reference": "Reference file",
    "derivative.cosine": "Agreement of the weights (cosine)",
    "derivative.cosine.common": "Agreement over the layers that both adapt (cosine)",
    "derivative.cosine.output": "Agreement of what they put out (cosine)",
    "derivative.coverage": "Share of the layers that both adapt",
    "derivative.common": "Layers that both adapt",
    "derivative.union": "Layers that either adapts",
    "derivative.norm.a": "Size of the known file’s change of weights",
    "derivative.norm.b": "Size of this file’s change of weights",
    "derivative.norm.ratio": "This file’s size over the known one’s",
    "derivative.copied": "Share of the common layers that are copies",
    "derivative.inside.a": "Share of the known file that lies in the directions of this one",
    "derivative.inside.b": "Share of this file that lies in the directions of the known one",
    "derivative.sha256": "SHA-256 of the known file",
    "derivative.relation": "Relation",
    # controls
    "h.controls": "Controls",
    "controls.lead": "Each control looks at something that has nothing to do with style. None of them should be "
    "able to single out an artist; who happens to be nearest by it stands beside each.",
    "controls.ok": "No control singles out an artist at α = {alpha}.",
    "controls.alarm.same": "Caution: a control that knows nothing of style also names {artist} ({controls}). The "
    "resemblance may come from how the file was made rather than from style. Do not rely on the conclusion above "
    "without further work.",
    "controls.copy": "Controls name an artist here. The conclusion rests on the weights and not on style, so that they "
    "do not bear on it; the figures on style on these pages should be read with that in mind.",
    "controls.alarm.other": "Caution: a control that knows nothing of style reaches significance ({controls}). How "
    "the file was made leaves a trace that this set reacts to; read the conclusion with care.",
    "controls.alarm.one": "{control}, p = {p}",
    "controls.alarm.one.other": "{control}: {artist}, p = {p}",
    "controls.none": "The controls were not computed.",
    "control.rank_only": "Rank only",
    "control.norm_only": "Norms only",
    "control.spectrum_only": "Spectra only",
    "control.rank_only.note": "the ranks of the modules",
    "control.norm_only.note": "how large each module’s update is",
    "control.spectrum_only.note": "the singular values, without directions",
    "col.control": "Control",
    "col.names": "Nearest by recipe",
    "col.reading": "Reading",
    "control.quiet": "singles out nobody",
    "control.loud": "▲ attributes",
    # coverage
    "h.coverage": "Coverage",
    "coverage.lead": "{matched} of the reference set’s {reference} modules are present in the suspect ({fraction}); "
    "the suspect has {suspect} modules in all.",
    "coverage.low": "Less than half of what the set compares is present. Read every figure with that in mind.",
    "coverage.title": "Share of the reference modules that the suspect covers",
    "known.none": "No folder of known files was given, so copies were looked for among the set’s references only.",
    "known.lead": "The file was also compared, weight by weight, with the known files in “{folder}” that could be read "
    "({n}).",
    "known.origin": "It goes back to one of them.",
    "known.no.origin": "It goes back to none of them.",
    "known.unread": "Known files that could not be read ({n}) were not compared: {names}",
    "known.more": "{n} more",
    # validity
    "h.validity": "How good this reference set is",
    "validity.lead": "Measured on LoRAs that the set had not seen, split by artist and by work.",
    "validity.lead.works": "Measured on LoRAs that the set had not seen. Value: of LoRAs made from works that the "
    "references were not made from. Same works: of LoRAs made from the references’ very works. Which of the two a "
    "suspect is, is seldom known.",
    "caution.unmeasured": "This reference set was never evaluated: its error rates are unknown.",
    "caution.refused": "This reference set is not certified by its own validity card: {reasons}",
    "validity.none": "This reference set was never evaluated. Its error rates are unknown, and the p-values above "
    "rest on their construction alone.",
    "col.figure": "Figure",
    "col.value": "Value",
    "col.range": "95 % range",
    "col.same": "Same works",
    "col.of": "Measured on",
    "validity.artists": "{n} artists",
    # provenance
    "h.provenance": "Provenance",
    "h.suspect": "The suspect",
    "h.set": "The reference set",
    "h.declared": "Declared by the file, not verified",
    "declared.lead": "Anyone can write these values into a file. They played no part in the conclusion.",
    "declared.none": "The file declares nothing about itself.",
    "declared.cut": "{n} more values are in the JSON document.",
    "h.warnings": "Warnings from reading the file",
    "warnings.cut": "{n} more warnings are in the JSON document.",
    "row.path": "File",
    "row.sha256": "SHA-256 of the file",
    "row.tensor_sha256": "SHA-256 of the tensors",
    "row.config": "Scales read from, beside it",
    "row.config.digest": "SHA-256 of that configuration",
    "row.bytes": "Size",
    "row.dialect": "Dialect",
    "row.algorithm": "Algorithm",
    "row.base_family": "Base family",
    "row.modules": "Adapted modules",
    "row.rank": "Rank",
    "rank.one": "{min}",
    "rank.range": "{min} to {max}, median {median}",
    "row.set.name": "Name",
    "row.set.digest": "Digest",
    "row.set.base": "Base model",
    "row.set.features": "Features",
    "row.set.size": "Size",
    "set.size": "{artists} artists, {references} references",
    "unknown": "unknown",
    "cut": "[…{n} more characters]",
    "size.bytes": "{n} bytes",
    "size": "{n} {unit} ({exact})",
    # end matter
    "h.change": "What would change this conclusion",
    "h.limits": "Limits",
    "h.method": "Method in brief",
    "h.reproduce": "How to reproduce",
    "reproduce.lead": "The same file, reference set, options and seed give the same figures, byte for byte. The "
    "command “audit reproduce AUDIT.json FILE” runs this again from the audit’s data and says which input differs, if "
    "one does.",
    "row.seed": "Seed",
    "row.asked": "Asked about",
    "row.independent": "Declared: chosen independently of how the file or its pictures look",
    "row.alpha": "Level α",
    "row.policy": "SHA-256 of the policy",
    "row.known": "Known files compared",
    "row.known.digest": "Digest of the known files",
    "row.baseline": "SHA-256 of its baseline",
    "row.policy.outcome": "What the policy makes of it",
    "policy.blocks": "It blocks this file. {reason}",
    "policy.passes": "It does not block this file. {reason}",
    "policy.unnamed": "POLICY.toml",
    "known.unnamed": "KNOWN",
    "row.resamples": "Resamples",
    "row.made": "Made",
    "row.tool": "Tool",
    "h.words": "Words used here",
    "footer": "{tool} · {created} · schema {schema}",
    # not audited
    "h.skipped": "Why it was not audited",
    "h.advice": "What to do",
    "skipped.code": "Reason code",
    "skipped.default": "The file is outside what this reference set can speak about.",
    "skipped.advice": "Audit it again with a reference set made for the base model of this file.",
    "skipped.meaning": "An audit that did not take place says nothing in either direction. It must not be read as a "
    "result in favour of the file or against it.",
    # pdf
    "pdf.footer": "{tool} · {file} · attached audit {digest}…",
    "pdf.page": "Page {page} of {pages}",
    "pdf.attachment": "The audit as data: every figure of this document, unrounded",
    "pdf.attached": "Attached to this PDF: {name}, the audit as data. Its SHA-256 is {digest}.",
    "pdf.escaped": "Characters that the fonts of this document lack stand here as their names or codes in brackets, "
    "such as [U+1F3A8 artist palette]; the attached data and the web page of this audit have the characters "
    "themselves.",
    "row.set": "Reference set",
    # batch
    "index.title": "Style audits of {n} LoRAs",
    "index.lead": "One row per file. Files that were not audited are listed with their reason.",
    "index.shown": "{n} of {of} files shown",
    "index.filter": "Show",
    "index.find": "Find in file names and conclusions",
    "index.pdf": "PDF",
    "index.bh": "p is of the test of resemblance, whatever the conclusion; q is that p-value adjusted for auditing "
    "several files at once (Benjamini–Hochberg); a copy counts once.",
    "col.file": "File",
    "col.verdict": "Conclusion",
    "col.q": "q",
    # validity card
    "card": "Validity card",
    "card.title": "Validity card of {name}",
    "card.question": "How far can the reference set “{name}” be trusted?",
    "card.lead": "Measured on LoRAs whose artist is known, by sets that never saw them. Intervals are 95 %, over "
    "artists. {artists} artists, {references} references of each half of an artist’s works; features",
    "card.certified": "Nothing here speaks against using this set at α = {alpha}: {hits} of {of} LoRAs by artists who "
    "were left out were attributed, so that the true rate may lie between {low} and {high}.",
    "card.refused": "Not certified at α = {alpha}.",
    "card.reach": "By its number of artists alone it could reach p = {p} and a likelihood ratio of {lr} (log10 "
    "{log10}); what its trials bear out is less (below).",
    "card.headline": "Headline: {of}",
    "card.kinds": "Kinds of suspect",
    "card.asked": "Artists tested for alone, declared to be chosen independently of the file",
    "card.recipes": "Other works, by the suspect’s recipe",
    "card.hard": "Hard negatives: artists left out of the set",
    "card.ablations": "One change at a time, controls and baselines",
    "card.col.artists": "Artists",
    "card.col.row": "Row",
    "card.ratios": "Likelihood ratios: {of}",
    "card.ratios.lead": "H1: trained on works of this artist. H2: on works of an artist outside the set, at its "
    "closest to anybody in it. Every ratio by a calibration that saw no file of its artist.",
    "card.bound.artists": "Bound by number of artists",
    "card.bound.elub": "Bounds by experience (ELUB)",
    "card.same_below_0": "Own artist, LR below 1",
    "card.different_above_0": "Stranger, LR above 1",
    "card.misleading": "misleading",
    "card.structure": "Separation, clusters and drift",
    "card.separation": "Artists separate within their genre (label permutation)",
    "card.adjusted_rand": "Clusters against artists, adjusted Rand index",
    "card.mutual_information": "Clusters against artists, mutual information",
    "card.silhouette_artist": "Silhouette by artist",
    "card.silhouette_genre": "Silhouette by genre",
    "card.drift": "Own-artist cosine, fitted → held out",
    "card.drift.fitted": "False attribution with a null of fitted files",
    "card.drift.held_out": "The same with held-out files, as audits use (at most α by construction)",
    "card.plots": "Plots",
    "card.described": "{y} against {x}: {lines}",
    "card.roc": "Higher is better; the diagonal is chance.",
    "card.det.title": "Misses against false alarms",
    "card.det": "Lower is better.",
    "card.null.title": "P-values under the null",
    "card.null": "Artists outside the set should follow the diagonal; above it on the left they are accused too often.",
    "card.tippett": "The further apart the lines, the better; strangers right of 0 are misleading.",
    "card.ece": "Ratios should cost less than no evidence at every prior.",
    "card.pav": "Dots on the diagonal mean calibrated ratios.",
    "card.axis.false_alarms": "false alarms",
    "card.axis.detections": "detections",
    "card.axis.misses": "misses",
    "card.axis.p": "p",
    "card.axis.share": "share ≤ p",
    "card.axis.lr": "log10 LR",
    "card.axis.above": "share above",
    "card.axis.prior": "prior log10 odds",
    "card.axis.bits": "bits",
    "card.axis.recalibrated": "recalibrated",
    "card.line.set": "this set",
    "card.line.impostors": "impostors",
    "card.line.chance": "chance",
    "card.line.own": "own artist",
    "card.line.stranger": "stranger",
    "card.line.silent": "no evidence",
    "card.line.ratios": "ratios",
    "card.line.ideal": "ideally recalibrated",
    "card.line.same": "as given = recalibrated",
    "card.line.files": "files",
    # console and sarif
    "console.member": "{name} = {p} (95 % range {range}) · α = {alpha}",
    "console.floor": "p = {p} (95 % range {range}) · least p of this set {p_min} · α = {alpha}",
    "console.documents": "Documents",
    "rule.style-match": "The file resembles one artist’s references more than LoRAs of artists outside the set do",
    "rule.derivative": "The file’s weights go back to a known file",
    "rule.malformed": "The file could not be read as weights and was not audited",
    "rule.out-of-scope": "The file is outside what the reference set can speak about and was not audited",
}

LISTS: Final[dict[str, tuple[str, ...]]] = {
    "change.consistent": (
        "A LoRA by an artist outside the set, of a similar style, that stands out for anyone by over {statistic}.",
        "A reference set with more artists of the same school.",
        "Evidence that the file was merged or altered after training.",
    ),
    "change.undecided": (
        "More references of the nearest artists, covering more of their works.",
        "Other evidence than the file: where it comes from, or what it was made from.",
    ),
    "change.unreachable": (
        "A set with more artists: this one names nobody at a level below α = {least}, whatever the file.",
    ),
    "change.no_match": (
        "References of further artists.",
        "References that cover other periods or techniques of an artist.",
        "Evidence that the file was altered after training so as to look like nobody’s.",
    ),
    "change.consistent.declared": (
        "A LoRA by another artist, of a similar style, that stands out for {whom} by over {statistic}.",
        "Evidence that the choice of the artist went by likeness after all.",
        "Evidence that the file was merged or altered after training.",
    ),
    "change.no_match.asked": (
        "References that cover other periods or techniques of the artist.",
        "Evidence that the file was altered after training so as to look like nobody’s.",
    ),
    "change.nearer": (
        "More references of both artists, covering more of their works.",
        "Knowing that the file mixes several styles.",
    ),
    "change.partial": ("A file that adapts more layers, or a set whose references adapt the same few layers.",),
    "change.unlike": ("A set whose references were made for the base model of this file.",),
    "change.nobody": ("More references of the nearest artists, or knowing that the file mixes several styles.",),
    "change.recipe": ("References of this artist trained with other settings.",),
    "change.weak": (
        "A set with more artists, which can carry a larger likelihood ratio.",
        "A policy that asks for less.",
    ),
    "change.derived": ("Evidence that the known file was made from this one.",),
    "not": (
        "It does not say which pictures went into the file, nor how they were obtained.",
        "It does not say that anyone did something wrong; resemblance of style is not infringement.",
        "It does not give the probability that the artist’s works were used. That depends on other evidence too.",
        "It does not speak about artists who are not in the reference set.",
    ),
    "not.NO_MATCH": (
        "It does not say that no artist’s works were used. An artist outside this set would look just like this.",
        "It does not clear the file: adding noise or merging can make any file look like nobody’s.",
        "It does not say that the artists listed can be ruled out; see the column “p excl.” for that.",
        "It does not say which pictures went into the file, nor how they were obtained.",
    ),
    "not.NO_MATCH.asked": (
        "It does not say that no artist’s works were used. Only {whom} was asked about.",
        "It does not exclude a smaller part of a mixture: merging with other files hides any artist.",
        "It does not say which pictures went into the file, nor how they were obtained.",
    ),
    "not.CONSISTENT.declared": (
        "It does not say which pictures went into the file, nor how they were obtained.",
        "It does not say that anyone did something wrong; resemblance of style is not infringement.",
        "It does not give the probability that the artist’s works were used. That depends on other evidence too.",
        "It holds only if {whom} was not chosen because the pictures look alike, nor as one of many asked about in "
        "turn.",
    ),
    "not.INCONCLUSIVE": (
        "It does not clear the file or speak against it: the figures are too weak for that, or contradict each other.",
        "It does not say that the first artist in the table is the right one.",
        "It does not say which pictures went into the file, nor how they were obtained.",
    ),
    "not.INCONCLUSIVE.unreachable": (
        "It does not speak for the file or against it: at the level asked for, this set can name nobody.",
        "It does not say that the first artist in the table is the right one.",
        "It does not say which pictures went into the file, nor how they were obtained.",
    ),
    "not.DERIVATIVE": (
        "It does not say who made either file first, nor whether the maker was allowed to.",
        "It does not say whose style the known file carries; that is a question to ask of that file.",
    ),
    "not.DERIVATIVE.reference": (
        "It does not say who made either file first, nor whether the maker was allowed to.",
        "It does not say that the style is the artist’s still: this file may have been trained further, or merged.",
    ),
    "not.OUT_OF_SCOPE": (
        "It does not say anything about whose style the file carries.",
        "It does not vouch for the file, and it does not accuse anyone.",
    ),
    "limits": (
        "Only the weights were examined. Pictures made with the file were not.",
        "Artists of one school resemble each other. The error rate is an average over artists: for most it is far "
        "lower, for a near twin of the artist named, outside the set, it may be every second file.",
        "References span the works they were made from. A suspect made from quite different works by the same "
        "artist may be missed.",
        "If this file was made for another checkpoint than the references, one with a strong style of its own, the "
        "right artist is missed more often, and “no match” is wrong more often.",
        "The p-value counts artists, not files: more artists in the set give finer figures, more files do not.",
        "Heavy editing of a file (merging, resizing, further training) weakens every figure, and a LoRA trained on "
        "pictures that another LoRA drew is seldom told to carry the style.",
    ),
}

MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)

METHOD: Final[tuple[str, ...]] = (
    "Reading: every adapted layer is brought to one form, ΔW = scale · B·A, whatever the dialect of the file. Tensors "
    "are read as numbers; nothing in the file is run, and what it declares about itself is not used.",
    "Features: taken from each layer’s update in directions that the references use. The name under “Features” fixes "
    "every parameter of them; references and suspect pass through the same functions.",
    "Calibration: layers are weighted by how well they tell artists apart, then whitened within artists; a score is a "
    "cosine with the artist’s references, less three quarters of the cosine that the strangers nearest to this artist "
    "reach; 0 is the mean of all strangers, 1 their standard deviation.",
    "Test: the null hypothesis is that the suspect comes from an artist outside the set. The null distribution is the "
    "same figure of every reference when its own artist is left out of the whole fit: how far the first artist stands "
    "out, by the lead of its score over the mean of the next three. Artists count, not files.",
    "Where some artists were asked about, only they can be named. They are ruled out where LoRAs of the set’s artists "
    "seldom score so low with their own artist. Where they were declared to be chosen independently of the file, the "
    "null hypothesis is that the suspect comes from none of them, and how far the best of them stands out is compared "
    "with how far it does in LoRAs of all others; the artist’s own p-value is then of this test.",
    "An artist is named only after that test rejects, and only if the artist’s own p-value, against the files of all "
    "other artists, is at or below the level as well.",
    "Controls: whether ranks, norms or spectra alone, which know nothing of style, fit one artist’s recipes clearly "
    "better than any other’s, tested as above; where they do not, no test is made (–).",
)

SHAPES: Final = ("●", "■", "▲", "◆", "▼", "✚", "✖", "⬢")
"""The marks of genres on the map, as characters."""

WORDS: Final[tuple[tuple[str, str], ...]] = (
    ("LoRA", "a small file that changes what a picture-generating model draws."),
    ("Suspect", "the LoRA file under audit."),
    ("Reference", "a LoRA made by the set’s authors from one artist’s works, to compare with."),
    ("Score", "similarity of the suspect and an artist’s references; higher is closer."),
    (
        "Standing out",
        "the lead of the first artist’s score (of an artist tested for alone, if one is) over the mean of the three "
        "best of all others. The p-value and the likelihood ratio are computed from it.",
    ),
    (
        "p-value",
        "how often a LoRA by an artist outside the set would stand out for someone in it as clearly (for an artist "
        "tested for alone, a LoRA by somebody else).",
    ),
    (
        "Asked about",
        "an artist of whom alone it was asked whether the file is theirs. Without such a question all artists of the "
        "set are asked about.",
    ),
    ("Level α", "the error rate that this audit accepts: an artist is named only if p is not above it."),
    (
        "p of exclusion",
        "how often LoRAs by the set’s artists, all taken together, score as low with their own artist as the suspect "
        "does with this one; a small value speaks against the artist.",
    ),
    (
        "Likelihood ratio",
        "how many times better so much standing out fits a LoRA made from the first artist’s works (as often as not "
        "the very works of the references) than one by an artist outside the set. Below 1 it speaks for an artist "
        "outside the set. Of the set’s other artists it says nothing. (Of an artist tested for alone: than one by "
        "another artist, taken at random from the set.) It cannot exceed what the size and the trials of the set "
        "support.",
    ),
    ("Coverage", "how much of what the set compares is present in the suspect."),
    ("Control", "a test on something that knows nothing of style; it should single out nobody."),
    ("Digest, SHA-256", "a fingerprint of a file or a set: another content has another one."),
)

DERIVED: Final[dict[str, str]] = {
    "same_update": "The weights of this file are those of a known file, {known}.",
    "resized": "The weights of this file are those of a known file, {known}, at another rank.",
    "same_run": "The weights of this file and those of a known file, {known}, are of one training run or one start.",
    "merge": "The weights of this file and those of a known file, {known}, contain one another, as a merge does.",
}
"""The sentence of a DERIVATIVE of a known file, by relation."""

DERIVED_REFERENCE: Final[dict[str, str]] = {
    "same_tensors": "The weights of this file are those of a reference file of this set, a LoRA made from works by "
    "{artist}.",
    "same_update": "The weights of this file are those of a reference file of this set, a LoRA made from works by "
    "{artist}, saved or scaled anew.",
    "same_run": "The weights of this file agree in large part with those of a reference file of this set, a LoRA made "
    "from works by {artist}: cut down, merged with others, trained further, or of the same training run.",
}
"""The sentence of a DERIVATIVE of a reference, by relation."""

FIGURES: Final[dict[str, str]] = {
    "top1": "Right artist ranked first",
    "top_1": "Right artist ranked first",
    "top5": "Right artist among the first five",
    "map": "Mean average precision",
    "roc_auc": "Same artist told from other (ROC AUC)",
    "auc": "Same artist told from other (ROC AUC)",
    "pair_auc": "Same artist told from other, pairs (ROC AUC)",
    "open_set_auc": "Artist in the set told from artist outside (ROC AUC)",
    "eer": "Equal error rate",
    "tpr_at_fpr_1": "Found at 1 % false alarms",
    "found": "Found at α = 0.05",
    "found_at_alpha": "Found at α = 0.05",
    "false_attribution": "Artists outside the set wrongly matched at α = 0.05",
    "map_at_5": "Mean average precision over the first five",
    "false_attribution_at_02": "Artists outside the set wrongly matched at α = 0.02",
    "cllr": "Cllr (cost of the likelihood ratios; 0 is best, 1 is useless)",
    "asked_found_at_alpha": "Declared: own artist found at α = 0.05",
    "asked_false_p_at_alpha": "Declared: p ≤ 0.05 for another artist",
    "asked_false_p_genre": "Declared: the same, for another of the same genre (mean over genres)",
    "asked_false_of_nearest": "Declared falsely: the nearest other artist matched, as if chosen by likeness",
    "asked_auc": "Declared: own artist told from others (ROC AUC)",
    "asked_cllr": "Declared: Cllr (cost of the likelihood ratios)",
    "asked_cllr_genre": "Declared: Cllr against others of the same genre",
    "cllr_min": "Cllr after ideal calibration",
    "cllr_cal": "Cllr lost to calibration",
}

CARD_FIGURES: Final[dict[str, str]] = {
    "map_at_5": "Mean average precision, five artists deep",
    "tpr_at_fpr_1": "Found at 1 % false alarms",
    "false_attribution": "False attribution at α = .05",
    "false_attribution_at_02": "False attribution at α = .02",
    "found_at_alpha": "Found at α = .05",
    "open_set_auc": "Open-set AUC",
}
"""Shorter names of figures, for the tables of a validity card."""

VERBAL: Final = (
    "no support for either proposition",
    "weak support for {artist}",
    "moderate support for {artist}",
    "moderately strong support for {artist}",
    "strong support for {artist}",
    "very strong support for {artist}",
)
"""Words for a likelihood ratio, step by step (ENFSI guideline 2015)."""

SUPPORTED: Final[dict[str, str]] = {
    "this": "this artist",
    "outside": "an artist outside the set",
    "other": "another artist",
}
"""Whom a likelihood ratio supports."""

RELATIONS_REFERENCE: Final[dict[str, str]] = {"same_run": "its weights in large part"}
"""Of a reference, where its 256 sums tell less than the weights of a known file would."""

RELATIONS: Final[dict[str, str]] = {
    "same_file": "the same file",
    "same_tensors": "the same tensors",
    "same_update": "the same weights, saved or scaled anew",
    "resized": "the same weights at another rank",
    "same_run": "of one training run or one start",
    "merge": "the one is part of the other, as after a merge",
}

PARTS: Final[dict[str, str]] = {
    "ff": "Feed-forward",
    "self_attention": "Self-attention",
    "cross_attention": "Cross-attention",
    "text_encoder": "Text encoder",
    "conv": "Convolutions",
}


_BREAKABLE = re.compile(r"[pα] [=≤≥] (?=\{)|\d %")
"""Where a line must not break: between a quantity, its relation and its value."""


def plain(key: str, /, **values: object) -> str:
    """The sentence `key`, its places filled with `values`: for data, with plain spaces only."""
    return TEXTS[key].format(**values)


def say(key: str, /, **values: object) -> str:
    """The sentence `key`, its places filled with `values`: for documents, with spaces that do not break."""
    return _BREAKABLE.sub(lambda m: m[0].replace(" ", "\u00a0"), TEXTS[key]).format(**values)


def told(key: str, whom: str, /, variant: str = "declared", **values: object) -> str:
    """`say`; where there is a `whom`, the sentence's variant for that, if it has one.

    'asked': they were asked about, and not everybody in the set; 'declared': they were tested for alone, since they
    were declared to be chosen independently of the file.
    """
    other = f"{key}.{variant}"
    return say(other, whom=whom, **values) if whom and other in TEXTS else say(key, **values)


def lines(key: str, /, *labels: str, **values: object) -> tuple[str, ...]:
    """The list `key`, in the form for the first of `labels` that has one, its places filled with `values`."""
    forms = (LISTS[name] for label in labels if (name := f"{key}.{label}") in LISTS)
    return tuple(line.format(**values) for line in next(forms, None) or LISTS[key])
