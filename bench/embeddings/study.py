"""The study told in one screen: from a base and its problems to plain data that reports are made of.

What it returns is JSON, in this shape (lengths are of the tiny base; `...` repeats):

    model       {name, published, dimension, vocabulary, tied, bos, input_scale}
                  published: the base's name in the published tables, or null
                  tied: whether the output reads with the input's embedding
                  bos: the text of what the tokenizer puts in front, or null
                  input_scale: what the model multiplies its input embedding by (Gemma: sqrt(d)); the
                  study takes the matrix itself, as the paper does
    data        {source, rows, sets: {key: {label, rows, tokens, types}}}
                  rows: "tests" or "train": whose texts are counted
    settings    the settings of the study, as given
    frequency   [{set, label, tokens, types, gamma, xmin, tail, ks, p, low, high,
                  against: {lognormal: {ratio, p}, exponential: {ratio, p}},
                  counts: [[count, how many types have it], ...]}, ...]
                  a row for each set, one for `together`, and for the embedded base one for
                  `pretraining`, the text that it was made with
    tokens      [{id, text, count, pretraining, norm, norm_centred, output_norm,
                  output_norm_centred, word, content}, ...]
                  every type that occurs in the texts at least once, the most frequent first.
                  text: as it stands in a text, with its leading space
                  pretraining: its count in the text of `pretraining`, or null
                  *_centred: norm of the embedding less the mean one
                  output_*: null where tied
                  word: in most of its places the token is a whole word of letters
                  content: a word of at least three letters that is no function word
    unseen      {tokens, norm_mean, norm_sd}: types that occur nowhere, which enter nothing else
    norms       {groups, correlations, bins}
      groups        [{group, words: [{word, text, count, norm}, ...], missing: [{word, why}, ...],
                      freq_mean, freq_min, freq_max, norm_mean, norm_min, norm_max}, ...]
                      the paper's G1 to G4; the six figures are null where no word is left
      correlations  [{role, centred, counted, tokens_of, n, rho, low, high}, ...]
                      role: "input" or "output"; centred: whether the mean embedding is taken off
                      counted: "texts" or "pretraining"; tokens_of: "all", "frequent", "content"
                      rho, low, high: null where n is too small
      bins          [{role, centred, counted, low, high, count, n, mean, quartiles: [q1, q2, q3]}, ...]
                      bins of like ratio over the count; low <= count < high
    spaces      [{space, note, points, sampled: [...], exact: [...]}, ...]
                  a value for each drawn space: 2 delta / diameter by sampled four-tuples, and of all
    prompts     [{set, label, metric, base_point, tokens: [...], embeddings: [...],
                  gaussian: [...], shuffled: [...]}, ...]
                  a value for each prompt, in one order; metric: "euclidean" or "cosine";
                  base_point: "first" or "all"
    hidden      [{model, method, curvature, run, set, label, metric, base_point, states: [...],
                  gaussian: [...], shuffled: [...]}, ...]
                  as `prompts`, of the last hidden layer; model: "base model", "LoRA", ...
    layers      [{model, method, curvature, run, layers: [...]}, ...]
                  a row for each layer, as bench.embeddings.layers gives it
    words       [{text, count, norm, ...}, ...]: as bench.embeddings.disk lays them out
    seconds     {part: seconds}
"""

from __future__ import annotations
