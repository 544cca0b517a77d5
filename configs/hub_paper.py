"""Tables 1 to 5 of HUB, arXiv 2305.16823, at the paper's scale; accelerators for 1, 4 and 5.

python main.py --config=configs/hub_paper.py --workdir=runs/hub                # table 1, CIFAR-10
python main.py --config=configs/hub_paper.py:smoke --workdir=runs/smoke        # minutes
python main.py --config=configs/hub_paper.py:table=2,data=lane_keeping,velo=FILE --workdir=runs/ltc
python main.py --config=configs/hub_paper.py:table=5,model=vit,data=cifar100 --workdir=runs/vit
python main.py --config=configs/hub_paper.py:table=4,blank --sweep_row=1 --plan=v5e:4x4

A run is one column of a table: its rows, which differ in the optimizer, are rows of a sweep, with
the paper's value beside ours; docs/recipes.md lists them. The learned optimizer is VeLO with its
released weights, from `velo=FILE`; without that file, VeLO, LGL2O and HUB are left out, and nothing
takes their place. Table 1 starts from an Xception trained on ImageNet, in `weights=FILE`
(docs/howto/pretrained.md), and Table 4 compresses the volume in `volume=FILE`; by default, the
files that `WEIGHTS` and `VOLUME` name are used.

`smoke` runs the paper's networks on small images (handwritten digits), a photograph, or noise
instead of the car's frames; `blank` needs no data, for --plan. Values that the paper does not give
are marked (ours).
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from configs import common
from l2o.errors import InputError
from l2o.models.siren_size import siren_width
from l2o.registry import choose

OPTIONS = {'model': '5', 'volume': '4', 'weights': '1'}  # argument -> the table that it is for
WEIGHTS, VOLUME = 'xception.safetensors', 'hip_ct.nii.gz'  # unless the arguments name others
COSINE = {'name': 'cosine', 'warmup': 0.1}
EPOCHS, BATCH = 100, 128
UNIT = 10.0  # (ours) degrees per target unit of lane keeping
TRIALS = tuple(range(10))
TEST = 1_000  # (ours) images on which the best step is chosen; the others are the test

# Top-1 and top-5 accuracy in %, MSE (of steering angles in degrees²) and PSNR in dB.
TABLE_1 = {
  'adamw': {'cifar10': (89.24, 99.54), 'cifar100': (73.71, 92.64), 'tiny_imagenet': (56.23, 73.62)},
  'velo': {'cifar10': (72.60, 96.87), 'cifar100': (40.05, 60.33), 'tiny_imagenet': (16.45, 25.40)},
  'lgl2o': {'cifar10': (89.01, 99.19), 'cifar100': (73.12, 92.36), 'tiny_imagenet': (50.30, 67.90)},
  'hub': {'cifar10': (89.79, 99.64), 'cifar100': (75.20, 94.20), 'tiny_imagenet': (59.16, 74.00)},
}
TABLE_2 = {  # None: NaN in the paper
  'trajectory': {'adam': 0.0119, 'velo': None, 'lgl2o': 0.1641, 'hub': 4.8663e-05},
  'lane_keeping': {'adam': 9.1376, 'velo': 5378.1544, 'lgl2o': 78.1195, 'hub': 3.1201},
}
TABLE_3 = {'adam': 13.3561, 'velo': 8.2062, 'lgl2o': 25.4467, 'hub': 4.2675}
TABLE_4 = {  # side of the volume
  '64': {'adamax': 48.0427, 'velo': 49.5022, 'lgl2o': 49.6106, 'hub': 50.1202},
  '256': {'adamax': 52.2213, 'velo': 52.6720, 'lgl2o': 52.5798, 'hub': 53.2311},
  '512': {'adamax': 47.1590, 'velo': 47.8934, 'lgl2o': 47.9298, 'hub': 48.3011},
}
TABLE_5 = {  # network -> data -> optimizer
  'resnet50': {
    'cifar10': {
      'adam': (83.06, 99.24), 'adamw': (83.61, 99.13), 'velo': (83.52, 99.30),
      'lgl2o': (83.77, 99.33), 'hub': (84.06, 99.42),
    },
    'cifar100': {
      'adam': (73.57, 89.17), 'adamw': (74.07, 90.20), 'velo': (72.71, 88.74),
      'lgl2o': (74.71, 88.94), 'hub': (75.34, 89.60),
    },
  },
  'vit': {
    'cifar10': {
      'adam': (76.59, 96.49), 'adamw': (84.17, 98.58), 'velo': (87.22, 99.60),
      'lgl2o': (88.01, 99.64), 'hub': (88.46, 99.79),
    },
    'cifar100': {
      'adam': (52.96, 75.50), 'adamw': (64.06, 88.56), 'velo': (69.67, 93.17),
      'lgl2o': (69.89, 93.44), 'hub': (70.36, 93.96),
    },
    'tiny_imagenet': {
      'adam': (44.22, 65.75), 'adamw': (54.30, 71.87), 'velo': (56.26, 73.37),
      'lgl2o': (57.07, 74.21), 'hub': (57.82, 74.94),
    },
  },
  'vit_l': {
    'imagenet2012': {
      'adam': (79.93, 90.52), 'adamw': (82.05, 92.01), 'velo': (82.65, 92.44),
      'lgl2o': (82.96, 92.57), 'hub': (83.28, 92.93),
    },
  },
}  # fmt: skip
SIZES = {
  'cifar10': 32,
  'cifar100': 32,
  'tiny_imagenet': 64,
  'imagenet2012': 256,
}  # as they are read
HALVES = {'mean': (0.5,), 'std': (0.5,), 'size': None}  # images from -1 to 1


def get_config(arg: str = '') -> ConfigDict:
  """Arguments: `table`; `data`, a column of it; `model`, of table 5; files: `velo`, `weights`,
  `volume`; `smoke`, `blank`.
  """
  args = common.parse(
    arg, smoke=False, blank=False, table='1', data='', model='', velo='', weights='', volume=''
  )
  tables = {'1': fine_tuning, '2': ltc, '3': lstm, '4': compression, '5': classification}
  build = tables[choose(args.table, tables, 'table')]
  for name, table in OPTIONS.items():
    if args[name] and args.table != table:
      raise InputError(
        f'{name} is for table {table} and has no effect on {args.table}; leave it out'
      )
  c = common.train_base()
  c.train.comparisons = 0  # LGL2O's row has them
  build(c, args)
  if args.smoke:
    c.train.update(num_steps=2, log_every=1, eval_every=1)
    c.sweep_seeds = (0,)
    for row in c.sweep:
      row['paper'] = None  # it is for other data
  return c


def fine_tuning(c: ConfigDict, args: ConfigDict) -> None:
  """Table 1: a whole Xception from ImageNet at 299 pixels, with a new head."""
  data = args.data or 'cifar10'
  paper = {row: cells[choose(data, cells, 'data of table 1')] for row, cells in TABLE_1.items()}
  size = 72 if args.smoke else 299
  resize = {'name': 'resize', 'size': (size, size), 'interpolation': 'bicubic'}
  _images(c, args, data, size)
  c.feed.update(train=(resize, {'name': 'flip'}), evaluation=(resize,))  # (ours)
  c.model = {'name': 'xception'}
  c.start = args.weights or ('' if args.smoke or args.blank else WEIGHTS)
  # The paper's text has two weightings for fine-tuning, its table one HUB: shown beside both.
  _rows(c, args, {'adamw': _adamw(1e-4)}, _of_images(paper), ('inverted', 'block_wise'))


def ltc(c: ConfigDict, args: ConfigDict) -> None:
  """Table 2: an LTC network, on a trajectory (8 cells) or steering a small car (19 cells)."""
  data = args.data or 'trajectory'
  paper = TABLE_2[choose(data, TABLE_2, 'data of table 2')]
  if data == 'lane_keeping':
    _steering(
      c, args, {'name': 'ltc', 'num_outputs': 1, 'units': 19, 'sparsity_level': 0.75}, paper
    )
    return
  c.batch_source = {'name': 'sines', 'num_steps': 8 if args.smoke else 64, 'noise': 0.0}  # (ours)
  c.model = {'name': 'ltc', 'num_outputs': 1, 'units': 8}
  c.task = {'name': 'regression'}
  c.train.update(num_steps=2_000, log_every=20, eval_every=100)  # (ours)
  c.sweep_seeds = TRIALS
  _rows(c, args, {'adam': _adam(1e-2)}, _of_one('loss', paper))


def lstm(c: ConfigDict, args: ConfigDict) -> None:
  """Table 3: steering with an LSTM of 64 units."""
  choose(args.data or 'lane_keeping', ('lane_keeping',), 'data of table 3')
  _steering(c, args, {'name': 'lstm', 'num_outputs': 1, 'features': 64}, TABLE_3)


def _steering(c: ConfigDict, args: ConfigDict, recurrent: dict, paper: Mapping[str, Any]) -> None:
  length, batch = (2, 1) if args.smoke else (11, 4)  # (ours)
  c.batch_source = {
    'name': 'lane_keeping', 'path': '', 'num_steps': length, 'batch_size': batch, 'unit': UNIT,
    'wheel': 'radians', 'on_bad_record': 'error',
  }  # fmt: skip
  if args.smoke or args.blank:
    shapes = {'frames': (batch, length, 66, 200, 3), 'target': (batch, length, 1)}
    c.batch_source = {'name': 'noise', 'shapes': shapes}
  c.model = {'name': 'lane_keeping', 'recurrent': recurrent}
  c.task = {'name': 'regression', 'scale': UNIT}
  c.train.update(num_steps=5_000, log_every=20, eval_every=100)
  c.sweep_seeds = TRIALS
  adam = _adam(1e-2, {'name': 'step', 'every': 300, 'factor': 0.3})
  _rows(c, args, {'adam': adam}, _of_one('test mse', paper))


def compression(c: ConfigDict, args: ConfigDict) -> None:
  """Table 4: a Siren with 1/256 of the bytes of a 16-bit volume, HiP-CT in the paper.

  Its "frequency rate" of 2.2 has no counterpart here.
  """
  data = args.data or '64'
  paper, side = TABLE_4[choose(data, TABLE_4, 'data of table 4')], int(data)
  batch, outputs = (64, 3) if args.smoke else (100_000, 1)
  if args.smoke:
    c.batch_source = {'name': 'photograph', 'crop': 32, 'batch_size': batch}
  elif args.blank:
    shapes = {'coordinates': (batch, 3), 'target': (batch, 1)}
    c.batch_source = {'name': 'noise', 'shapes': shapes, 'evaluated': side**3}
  else:
    path = args.volume or VOLUME
    c.batch_source = {'name': 'volume', 'path': path, 'crop': side, 'batch_size': batch}
  c.model = {'name': 'siren', 'features': siren_width(2 * side**3 / 256), 'num_outputs': outputs}
  c.task = {'name': 'regression', 'peak': 2.0, 'evaluated_at_once': 1 << 20}  # values in [-1, 1]
  c.train.update(num_steps=20_000, log_every=100, eval_every=1_000)  # (ours)
  c.sweep_seeds = TRIALS
  adamax = common.hand_designed('adamax', schedule='cosine', learning_rate=1e-3)
  _rows(c, args, {'adamax': adamax}, _of_one('psnr', paper))


def classification(c: ConfigDict, args: ConfigDict) -> None:
  """Table 5: a ResNet-50, a small ViT or a ViT-L/16, from scratch.

  Adam's rate and the schedules of the ViTs are (ours): the paper gives AdamW's rate.
  """
  network = args.model or 'resnet50'
  columns = TABLE_5[choose(network, TABLE_5, 'model of table 5')]
  data = args.data or next(iter(columns))
  paper = columns[choose(data, columns, f'data of {network} in table 5')]
  by_hand = {'resnet50': _resnet50, 'vit': _vit, 'vit_l': _vit_l}[network](c, args, data)
  _rows(c, args, by_hand, _of_images(paper))


def _resnet50(c: ConfigDict, args: ConfigDict, data: str) -> dict[str, Any]:
  size, whole = (28, 48) if args.smoke else (224, 384)
  resize = {'name': 'resize', 'size': (whole, whole), 'interpolation': 'bicubic'}
  _images(c, args, data, size)
  c.feed.update(
    train=(resize, {'name': 'random_crop', 'size': size}, *_augmented('cifar10')),
    evaluation=(resize, {'name': 'centre_crop', 'size': size}),  # (ours)
  )
  c.model = {
    'name': 'resnet', 'features': (64, 128, 256, 512), 'blocks': (3, 4, 6, 3), 'bottleneck': True,
    'stem': 7, 'stem_stride': 2, 'stem_pool': True,
  }  # fmt: skip
  return {'adam': _adam(7.5e-4, COSINE), 'adamw': _adamw(7.5e-4)}


def _vit(c: ConfigDict, args: ConfigDict, data: str) -> dict[str, Any]:
  """At the images' own size, with patches of 8 pixels (ours)."""
  size = 24 if args.smoke else SIZES[data]
  crop = {'name': 'random_crop', 'size': size, 'padding': size // 8}
  _images(c, args, data, size)
  policy = 'imagenet' if data == 'tiny_imagenet' else 'cifar10'  # (ours)
  c.feed.update(train=(crop, *_augmented(policy)))
  c.model = {'name': 'vit', 'width': 192, 'depth': 9, 'heads': 12, 'patch': 8}
  c.task.cutmix = 1.0  # (ours) alpha
  return {'adam': _adam(3e-3, COSINE), 'adamw': _adamw(3e-3, weight_decay=0.05)}


def _vit_l(c: ConfigDict, args: ConfigDict, data: str) -> dict[str, Any]:
  """Batch, size, augmentation and number format are (ours); the states of `smoke` take 6 GB."""
  size, whole = (32, 36) if args.smoke else (224, 256)
  _images(c, args, data, size)
  c.feed.update(
    train=({'name': 'random_resized_crop', 'size': size}, *_augmented('imagenet')),
    evaluation=({'name': 'resize', 'size': whole}, {'name': 'centre_crop', 'size': size}),
  )
  c.model = {'name': 'vit', 'size': 'L', 'patch': 16, 'dtype': 'bfloat16'}
  c.train.update(num_steps=20_000, eval_every=1_000)
  if not args.smoke:
    c.batch_source.update(batch_size=4_096)
  return {'adam': _adam(1e-2, COSINE), 'adamw': _adamw(1e-2)}


def _augmented(policy: str) -> tuple[dict[str, Any], ...]:
  return {'name': 'flip'}, {'name': 'autoaugment', 'policy': policy}


def _adam(learning_rate: float, schedule: Any = 'constant') -> dict[str, Any]:
  return common.hand_designed('adam', schedule=schedule, learning_rate=learning_rate)


def _adamw(learning_rate: float, **arguments: Any) -> dict[str, Any]:
  return common.hand_designed('adamw', schedule=COSINE, learning_rate=learning_rate, **arguments)


def _images(c: ConfigDict, args: ConfigDict, data: str, size: int) -> None:
  """The data set, fed by the host; `size`: the image size that the network sees."""
  num_classes, train, _ = common.BLANK[data]
  batch, evaluated = BATCH, 5 * TEST if data == 'imagenet2012' else TEST
  source: dict[str, Any] = {'name': 'tfds', 'dataset': data, 'download': False}
  if data == 'tiny_imagenet':
    source = {'name': 'tiny_imagenet', 'path': ''}
  source |= {'on_bad_record': 'error'}
  if data == 'imagenet2012':
    source |= {'validation_split': 'validation', 'in_memory': False}
  if args.blank:  # no test set: its images are read even for a plan
    source = {**common.blank(data, SIZES[data]), 'validation': evaluated}
  if args.smoke:
    source = {'name': 'digits', 'size': size, 'validation': 0.05}
    num_classes, batch, evaluated = 10, 4, 16
  c.batch_source = {
    'name': 'images', 'source': source, 'split': {'all': num_classes}, 'classes': 'all',
    'batch_size': batch, 'num_evaluated': evaluated,
  }  # fmt: skip
  c.task = {'name': 'classification', 'preprocessing': HALVES, 'evaluated_at_once': 100}  # (ours)
  epoch = train // BATCH
  c.train.update(num_steps=EPOCHS * epoch, log_every=100, eval_every=10 * epoch)
  c.train.mesh.data = 1 if args.smoke else -1
  c.checkpoint_every_secs = 600.0
  c.feed.update(chunk_steps=4, threads=4, workers=0 if args.smoke else 4)


def _of_images(paper: Mapping[str, tuple[float, float]]) -> dict[str, dict[str, float]]:
  """The paper's top-1 and top-5 accuracy under our measures' names, as fractions."""
  names = 'test accuracy', 'test top_5_accuracy'
  return {
    row: {name: round(value / 100, 6) for name, value in zip(names, values, strict=True)}
    for row, values in paper.items()
  }


def _of_one(measure: str, paper: Mapping[str, float | None]) -> dict[str, dict[str, float | None]]:
  return {row: {measure: value} for row, value in paper.items()}


def _rows(
  c: ConfigDict,
  args: ConfigDict,
  by_hand: Mapping[str, Any],
  paper: Mapping[str, Any],
  weightings: tuple[str, ...] = ('vanilla',),
) -> None:
  """The rows of a table; HUB and LGL2O combine VeLO with the last rule in `by_hand`."""
  c.rule = [*by_hand.values()][-1]
  c.sweep = [common.sweep_row(name, paper[name], {'rule': rule}) for name, rule in by_hand.items()]
  if not args.velo:
    return
  sides = {'hand_designed': c.rule.to_dict(), 'learned': {'name': 'velo', 'weights': args.velo}}
  guarded = {'rule': {'name': 'lgl2o', **sides}, 'train.comparisons': 1}
  c.sweep.append(common.sweep_row('velo', paper['velo'], {'rule': sides['learned']}))
  c.sweep.append(common.sweep_row('lgl2o', paper['lgl2o'], guarded))
  for weighting in weightings:
    name = f'hub {weighting}' if len(weightings) > 1 else 'hub'
    rule = {'name': 'hub', 'weighting': weighting, **sides}
    c.sweep.append(common.sweep_row(name, paper['hub'], {'rule': rule}))
