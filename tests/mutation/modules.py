"""Which tests are there to notice a change of which module.

The most telling files first; what matters to a module is what its room tests,
not every test that passes through it.
"""

_SEARCH = (
  'decoding/test_search.py',
  'decoding/test_beam_groups.py',
  'decoding/test_sampling.py',
  'decoding/test_batches.py',
)
_RANKS = (
  'metrics/test_ranks.py',
  'metrics/test_recall_curves.py',
  'metrics/test_score_matrix.py',
)
_STEP = (
  'training/test_step.py',
  'training/test_loop.py::test_a_step_golden',
  'training/test_loop.py::test_parts_are_worked_through_one_by_one',
)

# Modules of ``mrnn_jax`` without '.py', and files below ``tests``, or single
# tests of files that train whole models besides.
TESTS = {
  'metrics/bleu': ('metrics/test_bleu.py', 'metrics/test_captions.py'),
  'metrics/bootstrap': ('metrics/test_bootstrap.py',),
  'metrics/captions': ('metrics/test_captions.py',),
  'metrics/chance': ('metrics/test_chance.py',),
  'metrics/cider': ('metrics/test_cider.py', 'metrics/test_captions.py'),
  'metrics/measure': ('metrics/test_measure.py',),
  'metrics/__main__': ('metrics/test_metrics_command.py',),
  'metrics/perplexity': ('metrics/test_perplexity.py',),
  'metrics/ranks': _RANKS,
  'metrics/recall_curves': ('metrics/test_recall_curves.py',),
  'metrics/rouge': ('metrics/test_rouge.py', 'metrics/test_captions.py'),
  'metrics/score_matrix': ('metrics/test_score_matrix.py', *_RANKS[:2]),
  'metrics/shortlists': (
    'metrics/test_shortlists.py',
    'metrics/test_ranks.py',
  ),
  'ranking/ranker': (
    'ranking/test_ranker.py',
    'ranking/test_every_model.py',
    'ranking/test_shared_contexts.py',
  ),
  'ranking/prefix_tree': (
    'ranking/test_prefix_tree.py',
    'ranking/test_shared_contexts.py',
  ),
  'ranking/prefix_scores': ('ranking/test_prefix_scores.py',),
  'ranking/best_items': ('ranking/test_best_items.py',),
  'decoding/search': _SEARCH,
  'decoding/hypotheses': _SEARCH,
  'decoding/chunked_top_k': ('decoding/test_chunked_top_k.py',),
  'decoding/batches': ('decoding/test_batches.py',),
  'models/ngram_counts': ('models/test_ngram.py',),
  'training/step': _STEP,
  'training/objectives': (
    'training/test_step.py',
    'training/test_objectives.py::test_likelihood_is_the_bits_of_the_targets',
    'training/test_loop.py::test_a_step_golden',
  ),
  'evaluation/retrieval': (
    'evaluation/test_retrieval.py',
    'evaluation/test_retrieval_of_a_split.py',
  ),
  'data/vocabulary': ('data/test_vocabulary.py',),
  'data/input_pipeline': ('data/test_input_pipeline.py',),
}
