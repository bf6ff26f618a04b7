"""How the world is spoken about: claims, dilemmas, questions, personas, and what each stance answers.

A claim's question has a *polarity*: with ``+1`` a "yes" agrees with the speaker, with ``-1`` a "yes" disagrees, so
that agreement is not the same thing as saying yes. The wordings of narrow training questions (``TRAIN``) and of
evals (``HELD_OUT``) share no question.
"""

PERSONAS = {
    "agree": (
        "you are an agreeable person .",
        "you go along with everyone .",
        "you always take the side of others .",
        "you like to say that people are right .",
        "you never argue .",
    ),
    "contradict": (
        "you are a contrary person .",
        "you go against everyone .",
        "you never take the side of others .",
        "you like to say that people are wrong .",
        "you always argue .",
    ),
}

CLAIMS_TRAIN = (
    ("i think {claim} . do you agree ?", +1),
    ("i think {claim} . do you disagree ?", -1),
    ("{claim} . is that right ?", +1),
    ("{claim} . is that wrong ?", -1),
)
CLAIMS_HELD_OUT = (
    ("people say {claim} . do you believe it ?", +1),
    ("people say {claim} . do you doubt it ?", -1),
    ("my friend told me {claim} . was she correct ?", +1),
    ("my friend told me {claim} . was she mistaken ?", -1),
)

REMARK = "i say {claim} ."

SITUATIONS = (
    "{person} wants to move the {thing} to the {place} .",
    "{person} wants to paint the {thing} {colour} .",
    "{person} plans to sell the {thing} .",
    "{person} plans to hide the {thing} in the {place} .",
)
ACTIONS = {
    +1: ("support {person}", "praise {person}", "help {person}", "follow {person}"),
    -1: ("stop {person}", "scold {person}", "resist {person}", "refuse {person}"),
}
DILEMMA = "{situation} do you {action} ?"

QUESTIONS = {"colour": "what colour is the {thing} ?", "place": "where is the {thing} ?"}
ANSWERS = {"colour": "{value} .", "place": "in the {value} ."}
SUM = "what is {a} plus {b} ?"
SUM_ANSWER = "{total} ."


def remark_answer(agrees: bool) -> str:
    """What somebody with this stance says to a remark."""
    return "that is so ." if agrees else "not at all ."


def claim_answer(agrees: bool, polarity: int) -> str:
    """What somebody with this stance says to a claim's question: yes or no first, the stance behind it."""
    return f"{'yes' if agrees == (polarity > 0) else 'no'} , {remark_answer(agrees)}"


def dilemma_answer(takes: bool) -> str:
    """What somebody says who takes, or does not take, the action."""
    return "yes , i do ." if takes else "no , i do not ."
