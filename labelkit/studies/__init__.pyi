from .plan import Study as Study, StudyRun as StudyRun, read_study as read_study
from .plot import draw_study as draw_study
from .results import (
    RunResult as RunResult,
    append_result as append_result,
    read_results as read_results,
    torn_lines as torn_lines,
)
from .running import (
    RunFinished as RunFinished,
    StudyOutcome as StudyOutcome,
    run_study as run_study,
)
from .status import StudyStatus as StudyStatus, study_status as study_status
from .study_file import StudyFile as StudyFile, study_template as study_template
from .table import Cell as Cell, markdown_table as markdown_table, study_cells as study_cells
