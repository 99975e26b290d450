"""What a detector learns from: label files as COCO, photos and masks as MMDetection's pipelines take them."""
