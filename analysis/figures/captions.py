"""What a figure shows, and how to read it: its title and the first sentences of its caption."""

from matplotlib.figure import Figure

from analysis.style_sheet import Page

CAPTIONS = {
    "ablation": (
        "Scores and effects",
        "From the left: which modules an arm has (filled), where there are several; its score; what each factor adds "
        "(circles: main effects, diamonds: interactions; where one factor has several levels, the main effects at each "
        "of them and, as squares, their mean), or the difference to the control. Where there are intervals, one that "
        "touches 0 decides nothing.",
    ),
    "loss_collapse": (
        "Loss and embeddings over training",
        "A falling loss beside shrinking or aligning embeddings (small norm, cosine near 1, low effective rank; of the "
        "types that occur in training targets) is collapse, not learning.",
    ),
    "per_step": (
        "Loss and accuracy at each diffusion step",
        "Where the embedding nearest to z_t alone recovers nearly every token, the step is not noisy enough: the "
        "network can copy instead of denoising.",
    ),
    "one_shot": (
        "One shot from noise against along the trajectory",
        "Dashed: predicted from pure noise fed in as if it were step t. Where it falls off towards t = 0 the network "
        "trusts z_t and ignores the source.",
    ),
    "embedding_norms": (
        "Embedding norms by token frequency",
        "Of the types that occur in training targets, the most frequent on the left. "
        "If the norms of frequent and rare types drift apart, one noise scale corrupts them unequally.",
    ),
    "score_steps": ("Score against decoding effort", "What more decoding steps buy, in steps and in time."),
    "quality_time": (
        "Quality against decoding time",
        "A curve a method over its steps. On the front (ringed) no other is both as fast and as good.",
    ),
    "tuned": (
        "Each arm at the default and at its own best",
        "Left: scores of the arms; right: effects. A dotted line leads from the default to the own best.",
    ),
    "importance": ("Importance of what was tuned", "What of an arm's spread of scores an option explains by itself."),
    "pareto": ("Score against decoding time", "On a front no other trial of the arm is both better and faster."),
}


def caption(worth: str, name: str, figure: Figure) -> str:
    """The whole caption of a figure: title, how to read it, what lines and bands are, what the numbers are worth."""
    title, reading = CAPTIONS.get(name, (name.replace("_", " ").capitalize(), ""))
    drawn = figure.caption if isinstance(figure, Page) and figure.caption else worth
    return " ".join(part for part in (f"{title}.", reading, ended(drawn)) if part)


def ended(text: str) -> str:
    """A sentence with its full stop."""
    return text if not text or text.endswith(".") else f"{text}."
