"""Mask R-CNN by MMDetection on amodal labels; the only importer of mmdet and mmcv (extra `detector`)."""
