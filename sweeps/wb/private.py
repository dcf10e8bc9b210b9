"""All that we use of W&B's packages without their promise to keep it: private names, and settings that begin with x_.

Checked on wandb 0.31.0 (tracking also on 0.28.2 and 0.29.0) and wandb-workspaces 0.4.13; the versions that we allow are
in pyproject.toml. Nothing else in the project uses a private name of theirs (a house test). A new version of theirs is
tried by the tests of tracking, read-back, lineage and dashboards, which all go through their real code.
"""

from typing import Any

from core.errors import UserError

CHECKED = {"wandb": "0.31.0", "wandb-workspaces": "0.4.13"}

PATIENCE = {
    "x_graphql_retry_max": 2,
    "x_graphql_retry_wait_max_seconds": 4.0,
    "x_graphql_timeout_seconds": 10.0,
    "x_file_transfer_retry_max": 2,
    "x_file_transfer_timeout_seconds": 30.0,
}
"""How often the client tries again: without it, a server that is gone at the end of a run holds it up without limit."""


def experimental_settings(online: bool) -> dict[str, Any]:
    """Settings of a run; the record has the versions that matter, and machine statistics go to a server alone."""
    return {"x_save_requirements": False} | (PATIENCE if online else {"x_disable_stats": True})


def log_artifact(run: Any, artifact: Any, made: bool = True, used: bool = False) -> None:
    """Log an artifact as made by a run, as used by it (one that was there before), or both.

    This is what the client's `log_artifact` and `use_artifact` do offline (the latter refuses to); online they ask the
    server about it first and wait, without limit if it is gone. Uploading happens beside the run; its end waits for it.
    """
    ready, aliases = run._prepare_artifact(artifact, aliases=["latest"])
    run._interface.publish_artifact(run, ready, aliases, None, is_user_created=not made, use_after_commit=used)


def log_record(content: bytes) -> Any:
    """A record of a .wandb file as a message of the client's own format. Raises protobuf's DecodeError."""
    from wandb.proto import wandb_internal_pb2 as pb  # made by protoc: its names are not known to a type checker

    return vars(pb)["Record"].FromString(content)


def view_json(view: Any) -> dict[str, Any]:
    """A workspace or a report as the server gets it."""
    return dict(view._to_model().model_dump(mode="json", by_alias=True, exclude_none=True))


def set_id(part: Any, id_: str) -> None:
    """Give a panel or the run set of a report an id of ours; else it is drawn anew each time."""
    part._id = id_


def set_runset_id(workspace: Any, id_: str) -> None:
    """The same for a workspace's run set."""
    workspace._internal_runset_id = id_


def set_name(workspace: Any, name: str, entity: str, project: str) -> None:
    """Name a workspace in addresses, and take over the id of the one of that name if the server has it.

    Raises UserError if that one has a form which this version of the package does not read.
    """
    from wandb_workspaces.workspaces import internal
    from wandb_workspaces.workspaces.errors import SpecVersionError

    workspace._internal_name = name
    try:
        found = internal.get_view_dict(entity, project, internal._internal_name_to_url_query_str(name))
    except SpecVersionError as error:
        hint = "delete that workspace in W&B, and it is written anew"
        raise UserError(
            f"W&B: the workspace {name} of {entity}/{project} cannot be updated ({error}); {hint}"
        ) from error
    except ValueError:  # none
        found = {"id": ""}
    workspace._internal_id = str(found["id"])


def set_filter(holder: Any, settings: Any, condition: Any) -> None:
    """Show only the runs that fulfil a condition (wandb_workspaces.expr).

    holder: a workspace or a report's run set; settings: what holds its filters as text. Filters given as an expression
    go through a text form that turns "updates=300" into "updates==300"; therefore the finished filter is put where one
    that came from the server would be kept.
    """
    from wandb_workspaces import expr

    tree = expr.filter_expr_to_filters_tree([condition])
    holder._stashed_filters_v2 = expr.filters_tree_to_v2(tree)
    holder._stashed_filter_string = settings.filters
