"""Curves as Slicer's own plots: a table, a series for each curve and a chart, made once and filled again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import slicer
import vtk

_COLORS = ((0.18, 0.44, 0.69), (0.90, 0.49, 0.13), (0.18, 0.55, 0.34), (0.75, 0.22, 0.17), (0.55, 0.34, 0.70))


def show_series(
    title: str, x: tuple[str, Sequence[float]], curves: Mapping[str, Sequence[float]], names: Sequence[str] = ()
) -> Any:
    """Plot Dice values (0..1) and show the plot in the layout.

    Args:
        x: title and values of the horizontal axis.
        curves: values of every curve, as many as ``x`` has; NaN leaves a gap.
        names: what each point is, for its tooltip.

    Returns:
        The chart node.
    """
    table = _node("vtkMRMLTableNode", f"{title} (table)")
    filled = vtk.vtkTable()
    for name, values in ((x[0], x[1]), *curves.items()):
        filled.AddColumn(_column(name, values))
    labels = vtk.vtkStringArray()
    labels.SetName("Name")
    for name in names or [""] * len(x[1]):
        labels.InsertNextValue(name)
    filled.AddColumn(labels)
    table.SetAndObserveTable(filled)
    chart = _node("vtkMRMLPlotChartNode", title)
    chart.RemoveAllPlotSeriesNodeIDs()
    for position, name in enumerate(curves):
        chart.AddAndObservePlotSeriesNodeID(_series(f"{title}: {name}", table, x[0], name, position).GetID())
    chart.SetTitle(title)
    chart.SetXAxisTitle(x[0])
    chart.SetYAxisTitle("Dice")
    chart.SetLegendVisibility(len(curves) > 1)
    chart.SetYAxisRangeAuto(False)
    chart.SetYAxisRange(0.0, 1.0)
    slicer.modules.plots.logic().ShowChartInLayout(chart)
    return chart


def _column(name: str, values: Sequence[float]) -> Any:
    column = vtk.vtkFloatArray()
    column.SetName(name)
    for value in values:
        column.InsertNextValue(value)
    return column


def _series(name: str, table: Any, x: str, y: str, position: int) -> Any:
    series = _node("vtkMRMLPlotSeriesNode", name)
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetXColumnName(x)
    series.SetYColumnName(y)
    series.SetLabelColumnName("Name")
    series.SetPlotType(series.PlotTypeScatter)
    series.SetMarkerStyle(series.MarkerStyleCircle)
    series.SetColor(*_COLORS[position % len(_COLORS)])
    return series


def _node(kind: str, name: str) -> Any:
    """The node of ours of that name, made if it is not there."""
    found = slicer.mrmlScene.GetFirstNode(name, kind)
    return found if found is not None else slicer.mrmlScene.AddNewNodeByClass(kind, name)
