"""The flag `--plan` of main.py, whose value may be left out."""

from absl import flags

HELP = (
  'Prints, without running it, what a run would need according to its compiled programs: memory, '
  'operations and traffic between devices, on the local devices or, with --plan=v5e:16x16, on that '
  'topology of TPUs.'
)

flags.disclaim_key_flags()  # make it the caller's, so that the caller's --help shows it


def define() -> None:
  """Defines the flag."""
  text: flags.ArgumentParser[str] = flags.ArgumentParser()
  flags.DEFINE_flag(flags.Flag(text, None, 'plan', None, HELP, boolean=True))


def asked() -> str | None:
  """The topology to plan for; '' for the local devices, None if no plan was asked for."""
  value: str | None = flags.FLAGS['plan'].value
  return {None: None, 'false': None, 'true': ''}.get(value, value)
