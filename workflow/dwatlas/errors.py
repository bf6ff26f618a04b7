"""One way to say what is wrong: a single clear line that names the file or key, the fault and the remedy."""


class UserError(Exception):
    """Something the user can mend: bad config, bad input file, a model that does not fit the study.

    The message is one line, ``where: what is wrong; what to do``, and is shown without a traceback.
    """
